"""The pictures of a training that is under way, and the line that tells of an epoch."""

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from DinoUNetCore.errors import UserError
from DinoUNetCore.training.augmentation_sheet import draw_augmentations
from DinoUNetCore.training.report import draw_curves, draw_overlay
from DinoUNetCore.training.targets import drawn
from DinoUNetCore.volume.labels import Label

if TYPE_CHECKING:
    from DinoUNetCore.training.trainer import Trainer

SECONDS_BETWEEN = 60  # so that quick epochs do not spend their time on pictures


class RunPictures:
    """augmentation.png, curves.png and overlay.png in a run's folder. Only the first process draws."""

    def __init__(self, trainer: "Trainer"):
        self._trainer = trainer
        self._drawn: float | None = None

    def draw_augmentations(self) -> None:
        """Once per run."""
        trainer, path = self._trainer, self._trainer.folder / "augmentation.png"
        if trainer.processes.first and not path.exists():
            title = f"{trainer.dataset.name}: a training patch as it is, and as the network will see it"
            self.write(draw_augmentations, path, trainer.loader.dataset, trainer.scheme, title)

    def draw_now_and_then(self) -> None:
        """Draw how it goes, if that was some time ago. All processes call it."""
        self._draw_if(self._drawn is None or time.monotonic() - self._drawn > SECONDS_BETWEEN)

    def draw(self) -> None:
        """Draw how it goes. All processes call it."""
        self._draw_if(True)

    def _draw_if(self, due: bool) -> None:
        with self._trainer.network.backbone.together():
            if due and self._trainer.processes.first:
                self.write(self._draw)
        if due:
            self._drawn = time.monotonic()

    def write(self, write: Callable, *arguments) -> None:
        """Call `write`; a file that another program keeps open is no reason to end a training."""
        try:
            write(*arguments)
        except UserError as error:
            self._trainer.say(f"warning: {error}")

    def _draw(self) -> None:
        trainer, plan = self._trainer, self._trainer.plan
        title = f"{trainer.dataset.name}, {trainer.settings.variant}, fold {trainer.settings.fold}"
        draw_curves(trainer.folder / "curves.png", trainer.history, trainer.labels, title)
        trainer.network.eval()
        with torch.inference_mode():
            draw_overlay(
                trainer.folder / "overlay.png",
                trainer.validation_cases,
                trainer.scheme,
                plan.patch_size,
                plan.context_slices,
                len(plan.channel_names),
                lambda image: drawn(trainer.forward(image), trainer.scheme),
                title,
            )


def epoch_line(row: dict[str, Any], labels: Sequence[Label], epochs: int | None, is_best: bool) -> str:
    """What is said of an epoch: a row of the trainer's history."""
    known = [(label.name, value) for label, value in zip(labels, row["dice"], strict=True) if value is not None]
    dice = ", ".join(f"{name} {value:.3f}" for name, value in known)
    mean = "none" if row["mean_dice"] is None else f"{row['mean_dice']:.3f}"
    of = f"/{epochs}" if epochs else ""
    best = " (best)" if is_best else ""
    speed = row.get("patches_per_second")
    time = f"{row['seconds']:.0f} s" + ("" if speed is None else f", {speed:.3g} patches/s")
    return f"epoch {row['epoch']}{of}  loss {row['loss']:.4f}  Dice {mean}{best} [{dice}]  {time}"
