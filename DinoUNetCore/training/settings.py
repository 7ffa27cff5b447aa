"""What a user may choose about a training. Kept in the run's folder, so that a resumed run is the same run."""

import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from DinoUNetCore.errors import UserError
from DinoUNetCore.files import read_json, write_json
from DinoUNetCore.network.variants import VARIANTS
from DinoUNetCore.training.recipes import RECIPES
from DinoUNetCore.weights.dinov3 import comes_from_hub
from DinoUNetCore.weights.hub import HUB_PREFIX

# May differ when a run is resumed: they change where and how fast it runs, not what is computed.
FREE_ON_RESUME = {"device", "workers", "threads", "keep_prepared", "tensorboard", "shard_backbone", "compile"}
FILES = ("dataset", "plan", "groups", "backbone", "pretrained")  # settings that name a file or folder, or may do so


@dataclass(frozen=True)
class Settings:
    """epochs or minutes, not both; neither means the recipe's number of epochs. backbone: "hub", "random", timm's name
    or a file; None means hub weights where there are any, random otherwise. workers: None chooses by device.
    """

    dataset: str
    variant: str = "small"
    fold: int = 0
    recipe: str = "default"
    epochs: int | None = None
    minutes: float | None = None
    iterations: int | None = None
    learning_rate: float | None = None
    batch_size: int | None = None
    accumulate: int = 1
    spacing: tuple[float, float] | None = None
    patch_size: tuple[int, int] | None = None
    plane: str = "finest"
    planes: tuple[str, ...] | None = None
    context_slices: int | None = None
    plan: str | None = None
    groups: str | None = None
    resample_channels: bool = False
    backbone: str | None = None
    pretrained: str | None = None
    train_backbone: bool | None = None
    shard_backbone: bool = False
    precision: str = "auto"
    seed: int = 12345
    device: str = "auto"
    workers: int | None = None
    threads: int | None = None
    compile: str = "no"
    keep_prepared: bool = False
    tensorboard: bool = False
    name: str | None = None

    @property
    def backbone_source(self) -> str:
        """Where the backbone's weights come from: "hub", "random" or a file."""
        return self.backbone or ("hub" if VARIANTS[self.variant].timm_model else "random")

    @property
    def trains_backbone(self) -> bool:
        """As `DinoUNet` understands it: only a backbone without public weights is trained unasked."""
        trained = self.train_backbone
        return VARIANTS[self.variant].timm_model is None if trained is None else trained

    @property
    def epochs_asked(self) -> int:
        """How many epochs it takes as far as they were chosen; 0 where the time decides."""
        return 0 if self.minutes else self.epochs or RECIPES[self.recipe].epochs

    def save(self, path: Path) -> None:
        write_json(path, asdict(self))

    @classmethod
    def load(cls, path: Path) -> "Settings":
        try:
            return cls(**_with_tuples(read_json(path)))
        except TypeError as error:
            raise UserError(f"{path} does not hold the settings of a training ({error}).") from error

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Settings":
        """From what a user chose; files and folders become absolute, as a run may go on from another folder."""
        return cls(**_with_absolute(_with_tuples(values)))

    def resumed_with(self, given: dict[str, Any], folder: Path) -> "Settings":
        """These settings for a resumed run, for which a user gave some again. UserError if one has changed.

        Only the number of epochs may grow: that trains on, with the learning rate of the longer training. And the
        bundle that the training began with may have moved; that it is the same one is checked with the manifest.
        """
        given, before = _with_absolute(given), _with_absolute(asdict(self))
        longer = given.get("epochs", 0) > self.epochs_asked
        free = FREE_ON_RESUME if self.pretrained is None else FREE_ON_RESUME | {"pretrained"}
        for name, value in given.items():
            if name == "epochs" and longer:
                continue
            old = getattr(self, name)
            same = value == old or (name in FILES and _real(value) == _real(before[name]))
            if name not in free and not same:
                option = "--" + name.replace("_", "-") if name != "dataset" else "the data set"
                raise UserError(
                    f"{option} was {old} when {folder} began and cannot become {value}; leave it out, or train into "
                    "another folder."
                )
        changed = {name: value for name, value in given.items() if name in free}
        if longer:
            changed |= {"epochs": given["epochs"], "minutes": None}
        return replace(self, **changed)


def _with_tuples(values: dict[str, Any]) -> dict[str, Any]:
    names = ("spacing", "patch_size", "planes")
    return values | {name: tuple(values[name]) for name in names if values.get(name) is not None}


def _with_absolute(values: dict[str, Any]) -> dict[str, Any]:
    """Links are not followed: in a hub's cache the names of their targets say nothing."""
    return values | {
        name: os.path.abspath(values[name])
        for name in FILES
        if values.get(name) is not None and _is_file(name, values[name])
    }


def _is_file(name: str, text: str) -> bool:
    """Whether a setting names a file or folder, and not weights of a hub or a model of the library."""
    if name == "backbone":
        return text != "random" and not comes_from_hub(text)
    if name == "pretrained" and not Path(text).exists():  # gone or mistyped, or no file
        return not text.startswith(HUB_PREFIX) and Path(text).name != text
    return True


def _real(text: str | None) -> str | None:
    """An absolute path without links, so that two names of one file are the same."""
    return os.path.realpath(text) if text is not None and os.path.isabs(text) else text
