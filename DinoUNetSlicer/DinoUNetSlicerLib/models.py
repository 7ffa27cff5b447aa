"""The models that a user can choose: what comes with the module, and the user's own folder of models."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from DinoUNetCore.weights import library
from DinoUNetCore.weights.bundle_files import BundleFiles, opened, reading_problems
from DinoUNetSlicerLib.errors import UserError
from DinoUNetSlicerLib.zip_stream import StoredFile, zip_pieces, zip_size


@dataclass(frozen=True)
class Model:
    """One bundle. sha256: of its config.json, by which the engine knows it. config: the content of that file."""

    name: str
    sha256: str
    config: dict[str, Any]
    path: Path
    embedded: bool

    @property
    def channel_names(self) -> list[str]:
        return [str(name) for name in self.config["input"]["channel_names"]]

    @property
    def takes_colors(self) -> bool:
        """Whether its three channels are one colour picture."""
        return [entry["scheme"] for entry in self.config["input"]["normalization"]] == ["rgb"] * 3

    @property
    def is_2d(self) -> bool:
        """Whether it was trained on pictures, not on volumes."""
        return self.config["input"]["dimension"] == 2

    @property
    def planes(self) -> list[str]:
        """The planes whose slices it was trained on."""
        inputs = self.config["input"]
        return list(inputs.get("planes", [inputs["plane"]]))

    @property
    def unit(self) -> str:
        """What the model's lengths count in: "mm", or "pixel" for pictures without a physical size."""
        return self.config["input"].get("unit", "mm")

    @property
    def structures(self) -> list[str]:
        return [label["name"] for label in self.config["labels"]]

    @property
    def description(self) -> str:
        """A few lines for a tooltip: modality, structures, Dice, what it was trained on. Only what the bundle says."""
        training, metrics = self.config.get("training") or {}, self.config.get("metrics") or {}
        kind = "pictures" if self.is_2d else "volumes"
        lines = [f"{', '.join(self.channel_names)} {kind}", f"Structures: {', '.join(self.structures)}"]
        dice = (metrics.get("mean") or {}).get("dice")
        if dice is not None:
            cases = training.get("validation_cases")
            lines.append(f"Mean Dice {dice:.3f}" + (f" on {cases} validation cases" if cases else ""))
        if training.get("data_set"):
            cases = training.get("training_cases", training.get("cases"))  # an ensemble has them by folds
            lines.append(f"Trained on {training['data_set']}" + (f" ({cases} cases)" if cases else ""))
        return "\n".join([*lines, "For research only. Not a medical device."])


def list_models() -> tuple[list[Model], list[str]]:
    """The usable models, embedded ones first, and a sentence for each that is damaged."""
    models, damaged = [], []
    for entry in library.list_entries():
        if entry.problem:
            damaged.append(entry.problem)
        else:
            models.append(Model(entry.name, entry.sha256, entry.config, entry.path, entry.source == "embedded"))
    return models, damaged


def find_model(name: str) -> Model:
    """A model by its name, the first of equal ones. UserError lists what there is."""
    models, _ = list_models()
    for model in models:
        if name in (model.name, model.sha256):
            return model
    raise UserError(f"there is no model {name!r}; there are: {', '.join(model.name for model in models)}.")


def packed(model: Model) -> tuple[int, Iterator[bytes]]:
    """The bundle as one zip for an engine that lacks it: its size in bytes, and its pieces, which are read from the
    disk as they are asked for. UserError, now or at any piece, if it cannot be read."""
    with reading_problems(model.path), opened(model.path) as bundle:
        size = zip_size(_stored_files(bundle))

    def pieces() -> Iterator[bytes]:
        with reading_problems(model.path), opened(model.path) as bundle:
            yield from zip_pieces(_stored_files(bundle))

    return size, pieces()


def _stored_files(bundle: BundleFiles) -> list[StoredFile]:
    return [StoredFile(name, _size(bundle, name), partial(bundle.open, name)) for name in bundle.names]


def _size(bundle: BundleFiles, name: str) -> int:
    if bundle.archive is None:
        return (bundle.path / name).stat().st_size
    return bundle.archive.getinfo(bundle.root + name).file_size
