"""ModelBundle: all that is needed to use a trained network, as a folder, one zip, or a Hugging Face repository.

    config.json         what the model is: architecture, backbone, input, labels, training, metrics
    model.safetensors   its tensors; a frozen public backbone is named in config.json, not stored
    README.md           the model card
"""

import hashlib
import io
import json
import os
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from DinoUNetCore.errors import UserError
from DinoUNetCore.files import give_usual_permissions
from DinoUNetCore.network.dino_unet import DinoUNet
from DinoUNetCore.network.variants import Variant
from DinoUNetCore.resources import resources_folder
from DinoUNetCore.volume.geometry import UNITS
from DinoUNetCore.volume.intensity import ChannelNormalization
from DinoUNetCore.volume.labels import Label
from DinoUNetCore.weights.bundle_files import CARD, CONFIG, FORMAT_VERSION, WEIGHTS
from DinoUNetCore.weights.dinov3 import backbone_sha256, load_named_backbone
from DinoUNetCore.weights.tensors import file_sha256, save_tensors


@dataclass
class ModelBundle:
    """A trained model and everything about it.

    config: the content of config.json (see the properties for its entries). tensors: the stored tensors, by the names
    of `DinoUNet.state_dict`. source: where it was read, for messages. backbone_file: weights of a backbone that is not
    stored, if they are not to come from the hub.
    """

    config: dict[str, Any]
    tensors: dict[str, Tensor] = field(repr=False)
    card: str = ""
    source: str = "the bundle"
    backbone_file: str | os.PathLike | None = None

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
        version = self.config["format_version"]
        if version != FORMAT_VERSION:
            raise UserError(
                f"the bundle has format version {version}, and this program knows {FORMAT_VERSION} only; "
                "update the program or get another bundle."
            )
        architecture, inputs = self.config["architecture"], self.config["input"]
        self.name: str = self.config["name"]
        self.variant = Variant.from_json(architecture["sizes"])
        self.labels = [Label.from_json(label) for label in self.config["labels"]]
        self.label_values: list[int] = [0, *(label.value for label in self.labels)]  # by the network's class index
        self.channel_names = [str(name) for name in inputs["channel_names"]]
        self.dimension = int(inputs["dimension"])
        self.plane: str = inputs["plane"]
        self.unit: str = inputs.get("unit", "mm")  # of UNITS; the first bundles had none
        self.spacing: tuple[float, float] = _pair(inputs["spacing"], float)  # (row, column) in this unit
        self.patch_size: tuple[int, int] = _pair(inputs["patch_size"], int)  # (rows, columns)
        self.context_slices = int(inputs["context_slices"])
        self.normalization = [ChannelNormalization.from_json(entry) for entry in inputs["normalization"]]
        self.intensity_range = [_pair(entry, float) for entry in inputs["intensity_range"]]  # per channel
        self.spacing_range = [_pair(entry, float) for entry in inputs["spacing_range"]]  # slices, rows, columns
        self.mirror: list[str] = list(inputs["mirror"])  # axes on which training mirrored: "rows", "columns"
        self.num_classes = len(self.label_values)
        if self.unit not in UNITS:
            raise ValueError("unit")
        backbone = self.config["backbone"]
        if type(backbone["stored"]) is not bool or type(backbone["sha256"]) is not str:
            raise ValueError("backbone")
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
        self, device: torch.device | str = "cpu", backbone: str | os.PathLike | None = None
    ) -> DinoUNet:
        """The network with its weights, in eval mode, without gradients.

        A backbone that is not stored comes from the file `backbone`, else `backbone_file`, else as
        `load_named_backbone` says, and is checked by its SHA-256.
        """
        network = DinoUNet(self.variant, self.in_channels, self.num_classes, train_backbone=False)
        stored, record = self.stores_backbone, self.config["backbone"]
        if not stored:
            file = backbone or self.backbone_file
            load_named_backbone(network.backbone, file, self.variant.timm_model, record["sha256"], self.source)
        expected = {name for name in network.state_dict() if stored or not name.startswith("backbone.")}
        if expected != set(self.tensors):
            wrong = sorted(expected ^ set(self.tensors))
            raise UserError(
                f"{self.source} is damaged: {len(wrong)} tensors are missing or unknown, such as {wrong[0]}; "
                "get the bundle again."
            )
        try:
            network.load_state_dict(self.tensors, strict=False)
        except RuntimeError as error:
            raise UserError(f"{self.source} is damaged: its tensors do not fit its {CONFIG}; get it again.") from error
        if record.get("rope_periods") is not None:
            network.backbone.rope_periods = torch.tensor(record["rope_periods"])
        return network.requires_grad_(False).eval().to(device)

    def save(self, path: str | os.PathLike, overwrite: bool = False) -> None:
        """Write the bundle to a folder, or to one file if `path` ends in .zip; whole or not at all."""
        path = Path(path)
        if path.exists() and not overwrite:
            raise UserError(f"{path} exists already; choose another name or remove it.")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".partial-", dir=path.parent) as temporary:
                folder = Path(temporary) / "bundle"
                self._write(folder)
                if path.suffix.lower() == ".zip":
                    archive = Path(temporary) / "bundle.zip"
                    _pack(folder, archive)
                    os.replace(archive, path)
                else:
                    if path.exists():  # a folder cannot be replaced in one step: the old one makes room
                        os.replace(path, Path(temporary) / "old")
                    os.replace(folder, path)
        except OSError as error:
            raise UserError(
                f"cannot write {path}: {error.strerror or error}; check the folder, its permissions and the free space."
            ) from error

    def _write(self, folder: Path) -> None:
        folder.mkdir()
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.tensors.items()}
        save_tensors(folder / WEIGHTS, tensors)
        give_usual_permissions(folder / WEIGHTS)
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


def load_bundle(source: str | os.PathLike, backbone: str | os.PathLike | None = None) -> ModelBundle:
    """Read a bundle: a folder, a zip, the name of a bundle that comes with the package, or "hf:owner/name".

    backbone: a file with the weights of a backbone that the bundle names and does not store; it is read when the
    network is built. Without it they come from the file that DINOUNET_BACKBONE names, or from the hub.

    UserError when there is none, when it is damaged, of an unknown version, or its hash is wrong.
    """
    return replace(_read_bundle(source), backbone_file=backbone)


def _read_bundle(source: str | os.PathLike) -> ModelBundle:
    text = os.fspath(source)
    if text.startswith("hf:"):
        return _read_folder(fetch_bundle(text.removeprefix("hf:")), text)
    path = Path(text)
    if not path.exists() and len(path.parts) == 1:
        embedded = resources_folder() / "Models" / text
        path = embedded if embedded.is_dir() else path
    if path.is_dir():
        return _read_folder(path, text)
    if not path.is_file():
        known = ", ".join(sorted(entry.name for entry in (resources_folder() / "Models").glob("*/")))
        raise UserError(f"there is no model bundle {text}; give a bundle's folder or zip, or one of: {known}.")
    with tempfile.TemporaryDirectory() as temporary:
        try:
            with zipfile.ZipFile(path) as archive:
                for name in (CONFIG, WEIGHTS, CARD):
                    if name != CARD or CARD in archive.namelist():
                        archive.extract(name, temporary)
        except (zipfile.BadZipFile, zlib.error, KeyError, OSError, RuntimeError, EOFError) as error:
            raise UserError(f"{text} is not a model bundle or is damaged ({error}); get it again.") from error
        return _read_folder(Path(temporary), text)


def unpack_bundle(archive: bytes | bytearray, source: str) -> ModelBundle:
    """Read a bundle from the bytes of a zip with its files at the top; nothing is written to disk.

    UserErrors as those of `load_bundle`; `source` is for them.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as file:
            config = json.loads(file.read(CONFIG).decode("utf-8"))
            weights = file.read(WEIGHTS)
            card = file.read(CARD).decode("utf-8") if CARD in file.namelist() else ""
        if hashlib.sha256(weights).hexdigest() != config["weights"]["sha256"]:
            raise ValueError(f"the SHA-256 of {WEIGHTS} is not the one in {CONFIG}")
        tensors = safetensors.torch.load(weights)
    except MemoryError:
        raise
    except Exception as error:  # a damaged archive makes zipfile raise many kinds
        raise UserError(f"{source} is not a model bundle or is damaged ({error}); get it again.") from error
    return ModelBundle(config, tensors, card, source)


def _read_folder(folder: Path, source: str) -> ModelBundle:
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise UserError(f"{source} is not a model bundle: it has no {name}.")
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        expected = config["weights"]["sha256"] if config.get("format_version") == FORMAT_VERSION else None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{source} is damaged: its {CONFIG} cannot be read ({error}); get the bundle again.") from error
    if expected is not None and file_sha256(folder / WEIGHTS) != expected:
        raise UserError(f"{source} is damaged: the SHA-256 of {WEIGHTS} is not the one in {CONFIG}; get it again.")
    try:
        # read as a whole, not mapped: the folder of an unpacked zip is gone afterwards
        tensors = safetensors.torch.load((folder / WEIGHTS).read_bytes())
    except safetensors.SafetensorError as error:
        raise UserError(f"{source} is damaged: {WEIGHTS} cannot be read ({error}); get the bundle again.") from error
    card = (folder / CARD).read_text(encoding="utf-8") if (folder / CARD).is_file() else ""
    return ModelBundle(config, tensors, card, source)


def fetch_bundle(repository: str) -> Path:
    """Download a bundle of the Hugging Face Hub ("owner/name") into the hub's cache; returns its folder there."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(repository, allow_patterns=[CONFIG, WEIGHTS, CARD, "LICENSE*"]))
    except Exception as error:  # the hub library raises many kinds; each means that the bundle cannot be had now
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"the bundle hf:{repository} cannot be downloaded ({reason}); check its name and the network."
        ) from error


def _pack(folder: Path, archive: Path) -> None:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:  # weights do not compress
        for entry in sorted(folder.iterdir()):
            file.write(entry, entry.name)


def _pair(values: Any, kind: type) -> tuple:
    first, second = values
    return kind(first), kind(second)


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
) -> dict[str, Any]:
    """The content of config.json for a trained network."""
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
        "training": dict(training),
        "metrics": dict(metrics),
    }
