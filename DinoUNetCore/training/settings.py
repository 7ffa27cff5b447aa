"""What a user may choose about a training. Kept in the run's folder, so that a resumed run is the same run."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from DinoUNetCore.errors import UserError
from DinoUNetCore.files import read_json, write_json
from DinoUNetCore.network.variants import VARIANTS

# May differ when a run is resumed: they change where and how fast it runs, not what is computed.
FREE_ON_RESUME = {"device", "workers", "threads", "keep_prepared", "tensorboard"}


@dataclass(frozen=True)
class Settings:
    """epochs or minutes, not both; neither means the recipe's number of epochs. backbone: "hub", "random" or a file;
    None means hub weights where there are any, random otherwise. workers: None chooses by device.
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
    precision: str = "auto"
    seed: int = 12345
    device: str = "auto"
    workers: int | None = None
    threads: int | None = None
    keep_prepared: bool = False
    tensorboard: bool = False
    name: str | None = None

    @property
    def backbone_source(self) -> str:
        """Where the backbone's weights come from: "hub", "random" or a file."""
        return self.backbone or ("hub" if VARIANTS[self.variant].timm_model else "random")

    def save(self, path: Path) -> None:
        write_json(path, asdict(self))

    @classmethod
    def load(cls, path: Path) -> "Settings":
        try:
            return cls.from_dict(read_json(path))
        except TypeError as error:
            raise UserError(f"{path} does not hold the settings of a training ({error}).") from error

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Settings":
        names = ("spacing", "patch_size", "planes")
        tuples = {name: tuple(values[name]) for name in names if values.get(name) is not None}
        return cls(**{**values, **tuples})

    def resumed_with(self, given: dict[str, Any], folder: Path) -> "Settings":
        """These settings for a resumed run, for which a user gave some again. UserError if one has changed.

        Only the number of epochs may grow: that trains on, with the learning rate of the longer training.
        """
        longer = given.get("epochs", 0) > (self.epochs or 0)
        for name, value in given.items():
            if name == "epochs" and longer:
                continue
            old = getattr(self, name)
            if name == "dataset":
                old, value = Path(old).resolve(), Path(value).resolve()
            if name not in FREE_ON_RESUME and value != old:
                option = "--" + name.replace("_", "-") if name != "dataset" else "the data set"
                raise UserError(
                    f"{option} was {old} when {folder} began and cannot become {value}; leave it out, or train into "
                    "another folder."
                )
        changed = {name: value for name, value in given.items() if name in FREE_ON_RESUME}
        if longer:
            changed |= {"epochs": given["epochs"], "minutes": None}
        return Settings.from_dict({**asdict(self), **changed})
