"""What a training shows of itself: log.csv, curves.png and overlay.png."""

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from DinoUNetCore.dataset.preprocessing import PreparedCase
from DinoUNetCore.dataset.slices import patch_centre, patch_of
from DinoUNetCore.files import atomic_path, write_text
from DinoUNetCore.overlay import OverlayRow, save_overlay
from DinoUNetCore.volume.label_scheme import BACKGROUND, LabelScheme
from DinoUNetCore.volume.labels import Label

LAST_COLUMNS = {"learning_rate": ".3g", "seconds": ".1f", "patches_per_second": ".1f", "waiting": ".3f"}
"""Of log.csv, and how they are written."""


def write_log(path: Path, history: Sequence[dict[str, Any]], names: Sequence[str]) -> None:
    """One row per epoch: loss, Dice per structure, learning rate, seconds, patches per second, and the share of the
    time for patches that was spent waiting for data (see `stopwatch`). What was not measured is left empty.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["epoch", "loss", "mean_dice", *(f"dice_{name}" for name in names), *LAST_COLUMNS])
    for row in history:
        dice = ["" if value is None else f"{value:.4f}" for value in (row["mean_dice"], *row["dice"])]
        numbers = ["" if row.get(name) is None else format(row[name], form) for name, form in LAST_COLUMNS.items()]
        writer.writerow([row["epoch"], f"{row['loss']:.5f}", *dice, *numbers])
    write_text(path, text.getvalue())


def draw_curves(path: Path, history: Sequence[dict[str, Any]], labels: Sequence[Label], title: str) -> None:
    """Loss, validation Dice per structure and learning rate over the epochs."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    epochs = [row["epoch"] for row in history]
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    loss_axis, dice_axis = figure.subplots(1, 2)
    loss_axis.plot(epochs, [row["loss"] for row in history], color="#1f5fa8", marker="." if len(epochs) < 30 else None)
    loss_axis.set(title="Training loss (cross-entropy + Dice)", xlabel="epoch")
    rate_axis = loss_axis.twinx()
    rate_axis.plot(epochs, [row["learning_rate"] for row in history], color="0.75", linestyle="--", linewidth=1)
    rate_axis.set_ylabel("learning rate (dashed)", color="0.5")
    rate_axis.set_ylim(bottom=0)
    for index, label in enumerate(labels):
        values = [np.nan if row["dice"][index] is None else row["dice"][index] for row in history]
        dice_axis.plot(epochs, values, color=[part / 255 for part in label.color], linewidth=1, label=label.name)
    means = [np.nan if row["mean_dice"] is None else row["mean_dice"] for row in history]
    dice_axis.plot(epochs, means, color="black", linewidth=2, label="mean", marker="." if len(epochs) < 30 else None)
    dice_axis.set(title="Dice on patches of the validation cases", xlabel="epoch", ylim=(0, 1))
    dice_axis.legend(fontsize=8, ncols=1 + len(labels) // 8, loc="lower right")
    for axis in (loss_axis, dice_axis):
        axis.grid(alpha=0.25)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.suptitle(title)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")


def draw_overlay(
    path: Path,
    cases: Sequence[PreparedCase],
    scheme: LabelScheme,
    patch_size: Sequence[int],
    context_slices: int,
    channels: int,
    predict: Callable[[torch.Tensor], torch.Tensor],
    title: str,
) -> None:
    """Up to four validation cases, a patch of the slice with most foreground of each: image, label, prediction.

    `predict` maps (1, C, H, W) to what is drawn (1, H, W): see `targets.drawn`.
    """
    values, shown = np.array([BACKGROUND, *scheme.written]), scheme.shown
    rows = []
    for case in cases[:4]:
        foreground = (shown > 0)[case.labels()]
        index = int(foreground.sum(axis=(1, 2)).argmax())
        places = np.argwhere(foreground[index])
        aim = places.mean(axis=0).round() if len(places) else np.array(case.shape[1:]) // 2
        centre = patch_centre(aim.astype(int), case.shape[1:], patch_size)
        image, label = patch_of(case, index, centre, patch_size, context_slices)
        predicted, truth = predict(torch.from_numpy(image)[None])[0].cpu().numpy(), label[0]
        # with context, the middle channel is the slice itself; three plain channels are shown as colours
        pixels = image[context_slices // 2] if channels != 3 else image.transpose(1, 2, 0)
        name = f"{case.name}, slice {index}"
        rows.append(OverlayRow(name, pixels, values[shown[truth]], values[predicted], case.aspect))
    save_overlay(path, rows, scheme.described, title)
