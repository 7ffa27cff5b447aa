"""ModelBundle: all that is needed to use a trained network, as a folder, one zip, or a Hugging Face repository.

    config.json         what the model is: architecture, backbone, input, labels, training, metrics
    model.safetensors   its tensors; a frozen public backbone is named in config.json, not stored
    README.md           the model card
    curves.png          of the training, shown in the card
    LICENSE*            of DINOv3 weights that it holds
    backbone/           the backbone that it names, in bundles made to travel (see `exporting`)
"""

import json
import os
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from DinoUNetCore.errors import UserError
from DinoUNetCore.files import PARTIAL, give_usual_permissions
from DinoUNetCore.network.dino_unet import DinoUNet
from DinoUNetCore.network.ensemble import Ensemble
from DinoUNetCore.network.variants import Variant
from DinoUNetCore.volume.geometry import PLANES, UNITS
from DinoUNetCore.volume.intensity import ChannelNormalization
from DinoUNetCore.volume.labels import Label
from DinoUNetCore.weights.building import build_network
from DinoUNetCore.weights.bundle_files import CARD, CONFIG, CURVES, FORMAT_VERSION, WEIGHTS, check_version
from DinoUNetCore.weights.dinov3 import backbone_sha256
from DinoUNetCore.weights.tensors import file_sha256, save_tensors

MOST_MEMBERS = 64
"""Of an ensemble: a config.json that states more is damaged."""


@dataclass
class ModelBundle:
    """A trained model and everything about it.

    config: the content of config.json (see the properties for its entries). tensors: the stored tensors, by the names
    of `DinoUNet.state_dict`; those of a folder are read when they are asked for. source: where it was read, for
    messages. licenses: texts by file name, of weights that stand under another licence. curves: a PNG of the training.
    backbone_file: weights of a backbone that is not stored, if they are not to come from the hub. sha256: of the file
    config.json, by which a model is known; empty if the bundle was not read from files.
    """

    config: dict[str, Any]
    tensors: Mapping[str, Tensor] = field(repr=False)
    card: str = ""
    source: str = "the bundle"
    licenses: dict[str, str] = field(default_factory=dict, repr=False)
    curves: bytes | None = field(default=None, repr=False)
    backbone_file: str | os.PathLike | None = None
    sha256: str = ""

    def __post_init__(self):
        try:
            self._read_config()
        except UserError as error:
            raise UserError(f"{self.source}: {error}") from None
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(
                f"{self.source} is damaged: its {CONFIG} lacks or misstates {error}; get the bundle again."
            ) from error

    def _read_config(self) -> None:
        check_version("the bundle", self.config["format_version"])
        architecture, inputs = self.config["architecture"], self.config["input"]
        self.name: str = self.config["name"]
        self.variant = Variant.from_json(architecture["sizes"])
        self.labels = [Label.from_json(label) for label in self.config["labels"]]
        self.label_values: list[int] = [0, *(label.value for label in self.labels)]  # the background's first
        self.regions = _regions(self.config.get("regions"), self.labels)  # each label's values; None: classes
        self.channel_names = [str(name) for name in inputs["channel_names"]]
        self.dimension = int(inputs["dimension"])
        self.plane: str = inputs["plane"]
        self.planes: list[str] = list(inputs.get("planes", [self.plane]))  # all that training showed, `plane` first
        self.unit: str = inputs.get("unit", "mm")  # of UNITS; the first bundles had none
        self.spacing: tuple[float, float] = _pair(inputs["spacing"], float)  # (row, column) in this unit
        self.patch_size: tuple[int, int] = _pair(inputs["patch_size"], int)  # (rows, columns)
        self.context_slices = int(inputs["context_slices"])
        self.normalization = [ChannelNormalization.from_json(entry) for entry in inputs["normalization"]]
        self.intensity_range = [_pair(entry, float) for entry in inputs["intensity_range"]]  # per channel
        self.spacing_range = [_pair(entry, float) for entry in inputs["spacing_range"]]  # slices, rows, columns
        self.mirror: list[str] = list(inputs["mirror"])  # axes on which training mirrored: "rows", "columns"
        self.num_classes = len(self.label_values if self.regions is None else self.regions)  # of the network's outputs
        if self.unit not in UNITS:
            raise ValueError("unit")
        if self.planes[:1] != [self.plane] or len(set(self.planes)) != len(self.planes):
            raise ValueError("planes")
        if len(self.planes) > 1 and not set(self.planes) <= set(PLANES):
            raise ValueError("planes")
        backbone = self.config["backbone"]
        if type(backbone["stored"]) is not bool or type(backbone["sha256"]) is not str:
            raise ValueError("backbone")
        ensemble = self.config.get("ensemble")
        self.members: int | None = None if ensemble is None else ensemble["members"]  # None: a plain network
        self.shares_backbone: bool = ensemble is None or ensemble["shares_backbone"]
        if ensemble is not None and not (type(self.members) is int and 1 <= self.members <= MOST_MEMBERS):
            raise ValueError("ensemble")
        if type(self.shares_backbone) is not bool or not (self.shares_backbone or self.stores_backbone):
            raise ValueError("ensemble, backbone")
        values = {label.name: label.value for label in self.labels}
        kept = self.config.get("postprocessing", {}).get("keep_largest", [])
        self.keep_largest: list[int] = [values[name] for name in kept]  # label values that keep one piece only
        if self.context_slices not in (1, 3) or not set(self.mirror) <= {"rows", "columns"} or min(self.patch_size) < 1:
            raise ValueError("context_slices, mirror, patch_size")
        if int(architecture["num_classes"]) != self.num_classes:
            raise ValueError("num_classes")
        if len({len(self.channel_names), len(self.normalization), len(self.intensity_range)}) != 1:
            raise ValueError("channel_names, normalization, intensity_range")

    @property
    def in_channels(self) -> int:
        """Channels of the network's input: the volume's channels times the context slices."""
        return len(self.channel_names) * self.context_slices

    @property
    def stores_backbone(self) -> bool:
        """Whether the backbone's weights are in the bundle; a frozen public one is only named."""
        return self.config["backbone"]["stored"]

    def build_network(
        self,
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
        *,
        backbone: str | os.PathLike | None = None,
        progress: Callable[[int, int], None] | None = None,
        say: Callable[[str], None] | None = None,
    ) -> DinoUNet | Ensemble:
        """The network with its weights on a device, in eval mode, without gradients. Nothing is held twice; on the CPU
        it may share memory with the bundle.

        dtype: in which it is to compute; None: float32 if the device has room for the backbone, else perhaps bfloat16.
        In a short one its matrices are kept in it, and it runs under autocast: see `DinoUNet.dtype`.
        A backbone that is not stored comes from the file `backbone`, else `backbone_file`, else as `named_backbone`
        says, and is checked by its SHA-256; one that is too large for the device is streamed (see `placement`).
        progress(done, total): bytes of a download. say: takes sentences on what is unusual.
        """
        return build_network(self, torch.device(device), dtype, backbone, progress, say)

    def save(self, path: str | os.PathLike, overwrite: bool = False) -> None:
        """Write the bundle to a folder, or to one file if `path` ends in .zip; whole or not at all."""
        path = Path(path)
        if path.exists() and not overwrite:
            raise UserError(f"{path} exists already; choose another name or remove it.")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(
                prefix=PARTIAL, dir=path.parent, ignore_cleanup_errors=True
            ) as temporary:
                folder = Path(temporary) / "bundle"
                self._write(folder)
                if path.suffix.lower() == ".zip":
                    archive = Path(temporary) / "bundle.zip"
                    _pack(folder, archive)
                    os.replace(archive, path)
                else:
                    _replace_folder(folder, path, Path(temporary) / "old")
        except OSError as error:
            raise UserError(
                f"cannot write {path}: {error.strerror or error}; check the folder, its permissions and the free space."
            ) from error

    def _write(self, folder: Path) -> None:
        folder.mkdir()
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.tensors.items()}
        save_tensors(folder / WEIGHTS, tensors)
        give_usual_permissions(folder / WEIGHTS)
        if self.curves:
            (folder / CURVES).write_bytes(self.curves)
        for name, text in self.licenses.items():
            (folder / name).write_text(text, encoding="utf-8", newline="\n")
        config = dict(self.config, weights={"file": WEIGHTS, "sha256": file_sha256(folder / WEIGHTS)})
        for name, text in ((CONFIG, json.dumps(config, indent=2, ensure_ascii=False)), (CARD, self.card.rstrip())):
            (folder / name).write_text(text + "\n", encoding="utf-8", newline="\n")


def network_tensors(network: DinoUNet, store_backbone: bool) -> dict[str, Tensor]:
    """The tensors of a network that a bundle stores."""
    return {
        name: tensor
        for name, tensor in network.state_dict().items()
        if store_backbone or not name.startswith("backbone.")
    }


def _replace_folder(new: Path, target: Path, aside: Path) -> None:
    """A folder cannot be replaced in one step: the old one makes room, and comes back if the new one cannot come."""
    if not target.exists():
        os.replace(new, target)
        return
    os.replace(target, aside)
    try:
        os.replace(new, target)
    except BaseException:
        os.replace(aside, target)
        raise


def _pack(folder: Path, archive: Path) -> None:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:  # weights do not compress
        for entry in sorted(folder.iterdir()):
            file.write(entry, entry.name)


def _pair(values: Any, kind: type) -> tuple:
    first, second = values
    return kind(first), kind(second)


def _regions(entries: Any, labels: list[Label]) -> list[list[int]] | None:
    if entries is None:
        return None
    regions = [list(values) for values in entries]
    whole = all(type(value) is int and value > 0 for values in regions for value in values)
    if not whole or len(regions) != len(labels):
        raise ValueError("regions")
    if not all(label.value in values for label, values in zip(labels, regions, strict=True)):
        raise ValueError("regions")
    return regions


def make_config(
    *,
    name: str,
    variant_name: str,
    network: DinoUNet,
    backbone: Mapping[str, Any],
    inputs: Mapping[str, Any],
    labels: list[Label],
    training: Mapping[str, Any],
    metrics: Mapping[str, Any],
    regions: Mapping[str, list[int]] | None = None,
) -> dict[str, Any]:
    """The content of config.json for a trained network.

    labels: in the order of its outputs. regions: {name: values that make it up}, likewise; None for classes.
    """
    return {
        "format_version": FORMAT_VERSION,
        "name": name,
        "architecture": {
            "variant": variant_name,
            "in_channels": network.in_channels,
            "num_classes": network.num_classes,
            "sizes": network.variant.to_json(),
        },
        "backbone": {
            **backbone,
            "sha256": backbone_sha256(network.backbone),
            "rope_periods": [float(period) for period in network.backbone.rope_periods],
        },
        "input": dict(inputs),
        "labels": [label.to_json() for label in labels],
        **({} if regions is None else {"regions": list(regions.values())}),
        "training": dict(training),
        "metrics": dict(metrics),
    }
