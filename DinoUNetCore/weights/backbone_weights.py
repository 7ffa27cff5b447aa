"""DINOv3 weights in whatever form a user has them: one set of names, read tensor by tensor."""

import json
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from DinoUNetCore.errors import UserError
from DinoUNetCore.files import give_usual_permissions
from DinoUNetCore.network.backbone import ViTConfig
from DinoUNetCore.network.variants import VARIANTS
from DinoUNetCore.weights.backbone_folder import FORMAT_VERSION, RECORD
from DinoUNetCore.weights.bundle_files import is_license
from DinoUNetCore.weights.forms import find_form
from DinoUNetCore.weights.tensor_files import INDEX_ENDING, TensorFiles
from DinoUNetCore.weights.tensors import TensorDigest, file_sha256, save_tensors

WEIGHTS = "model.safetensors"
LARGEST_FILE = 4_000_000_000  # bytes; larger weights are saved as several files


class BackboneWeights:
    """The weights of a DINOv3 backbone in a file or folder, under the names of timm's model (see `forms`).

    path: a file of timm's, Meta's or transformers' weights, or a folder that holds them (sharded ones with their
    index); the form is recognised by the content. Values are as in the file, in its dtype.

    origin: for messages. licenses: the files LICENSE* beside the weights. periods: the RoPE periods, where the file
    has them, else None.

    UserError when it cannot be read or holds no DINOv3 model.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.origin = str(path)
        self._files = TensorFiles(self.path)
        form = find_form(self._files)
        if form is None:
            raise UserError(f"{path} holds no DINOv3 weights: no tensor of register tokens; give a backbone's file.")
        self.form = form.name
        self._recipes = dict(sorted(form.recipes.items()))
        missing = sorted({source for recipe in self._recipes.values() for source in recipe.sources} - set(self._files))
        if missing:
            raise UserError(f"{path} lacks {len(missing)} tensors, such as {missing[0]}; get it again.")
        self.periods = None if form.periods is None else self._files[form.periods].float()
        self.licenses = sorted(path for path in self._files.path.parent.iterdir() if is_license(path.name))

    def names(self) -> list[str]:
        """In ascending order."""
        return list(self._recipes)

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """By timm's names; the weights themselves are not read."""
        return {
            name: tuple(recipe.make(*(torch.empty(self._files.shape(s), device="meta") for s in recipe.sources)).shape)
            for name, recipe in self._recipes.items()
        }

    def tensors(self, names: Iterable[str] | None = None) -> Iterator[tuple[str, Tensor]]:
        """Tensors with their names, all of them in ascending order by default; each belongs to the caller.

        Only the current one is in memory.
        """
        recipes = self._recipes if names is None else {name: self._recipes[name] for name in names}
        parts = self._files.read(source for recipe in recipes.values() for source in recipe.sources)
        for name, recipe in recipes.items():
            yield name, recipe.make(*(next(parts)[1] for _ in recipe.sources))

    def sha256(self) -> str:
        """What identifies the weights: equal for all forms of the same ones."""
        digest = TensorDigest()
        for name, tensor in self.tensors():
            digest.update(name, tensor)
        return digest.hexdigest()

    def variant(self) -> str:
        """The variant whose backbone this is, by its sizes. UserError if it is none."""
        for name, variant in VARIANTS.items():
            if variant.timm_model and not self.problems(variant.vit):
                return name
        known = ", ".join(name for name, variant in VARIANTS.items() if variant.timm_model)
        raise UserError(f"{self.origin} holds a backbone of no variant of Dino U-Net; give one of {known}.")

    def problems(self, config: ViTConfig) -> list[str]:
        """The tensors that a backbone of these sizes lacks, does not know, or expects in another shape."""
        expected = _expected_shapes(config)
        return [name for name in sorted(expected | self.shapes) if expected.get(name) != self.shapes.get(name)]

    def check(self, config: ViTConfig) -> None:
        """UserError unless these are weights of a backbone of these sizes."""
        wrong = self.problems(config)
        if not wrong:
            return
        if all(name.endswith((".q_bias", ".v_bias")) for name in wrong):
            raise UserError(
                f"{self.origin} lacks the biases of queries and values, without which results differ; give timm's file "
                "with _qkvb in its name, or Meta's."
            )
        raise UserError(
            f"{self.origin} does not hold the weights of this backbone (width {config.dim}, depth {config.depth}): "
            f"{len(wrong)} tensors differ, such as {wrong[0]}; give the file of this variant."
        )


def _expected_shapes(config: ViTConfig) -> dict[str, tuple[int, ...]]:
    from DinoUNetCore.network.backbone import Backbone

    with torch.device("meta"):
        vit = Backbone(config, (0,)).vit
    return {name: tuple(tensor.shape) for name, tensor in vit.state_dict().items()}


def save_backbone(weights: BackboneWeights, folder: Path) -> None:
    """Write a new folder with the weights under timm's names, their licence and `backbone.json`.

    Weights above 4 GB become several files with an index, as the Hub has them; of a set that is larger than the
    memory only one file's worth is held. The folder must not exist; the caller makes it appear at once. OSError.
    """
    folder.mkdir(parents=True)
    digest, files, part, size = TensorDigest(), [], {}, 0

    def flush() -> None:
        nonlocal part, size
        path = folder / f"part-{len(files)}"
        save_tensors(path, part, {"format": "pt"})
        files.append((path, list(part)))
        part, size = {}, 0

    for name, tensor in weights.tensors():
        digest.update(name, tensor)
        if part and size + tensor.nbytes > LARGEST_FILE:
            flush()
        part[name] = tensor.contiguous()
        size += tensor.nbytes
    if weights.periods is not None:
        part["rope_embed.periods"] = weights.periods
    flush()
    _name_parts(folder, files)
    for license_file in weights.licenses:
        (folder / license_file.name).write_bytes(license_file.read_bytes())
    entries = sorted(folder.iterdir())
    for entry in entries:
        give_usual_permissions(entry)
    variant = weights.variant()
    facts = {
        "format_version": FORMAT_VERSION,
        "variant": variant,
        "timm_model": VARIANTS[variant].timm_model,
        "sha256": digest.hexdigest(),
        "origin": Path(weights.origin).name,
        "files": {entry.name: {"sha256": file_sha256(entry), "bytes": entry.stat().st_size} for entry in entries},
    }
    (folder / RECORD).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8", newline="\n")


def _name_parts(folder: Path, files: list[tuple[Path, list[str]]]) -> None:
    if len(files) == 1:
        files[0][0].rename(folder / WEIGHTS)
        return
    places = {}
    for number, (path, names) in enumerate(files, start=1):
        final = f"model-{number:05d}-of-{len(files):05d}.safetensors"
        path.rename(folder / final)
        places.update(dict.fromkeys(names, final))
    size = sum(path.stat().st_size for path in folder.iterdir())
    index = {"metadata": {"total_size": size}, "weight_map": places}
    (folder / f"model{INDEX_ENDING}").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8", newline="\n")
