"""DINOv3 weights in whatever form a user has them: one set of names, read tensor by tensor."""

from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from DinoUNetCore.errors import UserError
from DinoUNetCore.files import give_usual_permissions, write_json
from DinoUNetCore.network.backbone import ViTConfig
from DinoUNetCore.network.variants import VARIANTS
from DinoUNetCore.weights.backbone_folder import INDEX, BackboneRecord, FileRecord, write_record
from DinoUNetCore.weights.bundle_files import WEIGHTS, stream_sha256
from DinoUNetCore.weights.forms import find_form
from DinoUNetCore.weights.license_files import licenses_in
from DinoUNetCore.weights.tensor_files import TensorFiles
from DinoUNetCore.weights.tensors import TensorDigest, save_tensors
from DinoUNetCore.weights.tensors_digest import PERIODS

LARGEST_FILE = 4_000_000_000  # bytes; larger weights are saved as several files


class BackboneWeights:
    """The weights of a DINOv3 backbone in a file or folder, under the names of timm's model (see `forms`).

    path: a file of timm's, Meta's or transformers' weights, or a folder that holds them (sharded ones with their
    index); the form is recognised by the content. Values are as in the file, in its dtype.

    origin: for messages. licenses: the files beside the weights that hold their licence. periods: the RoPE periods,
    where the file has them, else None.

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
        self.licenses = licenses_in(self._files.path.parent)

    @property
    def files(self) -> list[Path]:
        """The files that hold the weights."""
        return self._files.files

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


def save_backbone(weights: BackboneWeights, folder: Path, timm_model: str | None = None) -> BackboneRecord:
    """Write a new folder with the weights under timm's names, their licence and `backbone.json`; returns its content.

    timm_model: which of timm's weights they are; None if it is not known, since sizes do not tell. Weights above 4 GB
    become several files with an index, as the Hub has them; of a set that is larger than the memory only one file's
    worth is held. The folder must not exist; the caller makes it appear at once. OSError.
    """
    folder.mkdir(parents=True)
    digest, parts, part, size = TensorDigest(), [], {}, 0

    def flush() -> None:
        nonlocal part, size
        path = folder / f"part-{len(parts)}"
        save_tensors(path, part, {"format": "pt"})
        parts.append((path, list(part)))
        part, size = {}, 0

    for name, tensor in weights.tensors():
        digest.update(name, tensor)
        if part and size + tensor.nbytes > LARGEST_FILE:
            flush()
        part[name] = tensor.contiguous()
        size += tensor.nbytes
    if weights.periods is not None:
        part[PERIODS] = weights.periods
    flush()
    _name_parts(folder, parts)
    for license_file in weights.licenses:
        (folder / license_file.name).write_bytes(license_file.read_bytes())
    files = {}
    for path in sorted(folder.iterdir()):
        give_usual_permissions(path)
        with path.open("rb") as file:
            files[path.name] = FileRecord(stream_sha256(file), path.stat().st_size)
    record = BackboneRecord(weights.variant(), timm_model, digest.hexdigest(), Path(weights.origin).name, files)
    write_record(folder, record)
    return record


def _name_parts(folder: Path, parts: list[tuple[Path, list[str]]]) -> None:
    if len(parts) == 1:
        parts[0][0].rename(folder / WEIGHTS)
        return
    places = {}
    for number, (path, names) in enumerate(parts, start=1):
        final = f"model-{number:05d}-of-{len(parts):05d}.safetensors"
        path.rename(folder / final)
        places.update(dict.fromkeys(names, final))
    size = sum(path.stat().st_size for path in folder.iterdir())
    write_json(folder / INDEX, {"metadata": {"total_size": size}, "weight_map": places})
