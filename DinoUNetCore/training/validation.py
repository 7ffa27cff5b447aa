"""Validation: a quick Dice on patches after every epoch, and the full measure on whole volumes at the end."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from torch import Tensor

from DinoUNetCore.dataset.layout import Dataset, check_case
from DinoUNetCore.metrics import evaluate_case, summarise
from DinoUNetCore.volume.volume import Volume, channel_arrays


def dice_on_patches(
    batches: Iterable[tuple[Tensor, Tensor]], num_classes: int, forward: Callable[[Tensor], Tensor]
) -> list[float | None]:
    """Dice per foreground class over all patches together; None for a class that occurs in none of them.

    batches: (B, C, H, W) and class indices (B, H, W). forward: the network in eval mode, returning logits.
    """
    joint = np.zeros((num_classes, num_classes))  # rows: truth, columns: prediction
    with torch.inference_mode():
        for image, label in batches:
            pairs = label.flatten() * num_classes + forward(image).argmax(dim=1).cpu().flatten()
            joint += torch.bincount(pairs, minlength=num_classes**2).view(num_classes, num_classes).numpy()
    truth, predicted = joint.sum(axis=1), joint.sum(axis=0)
    dice = [None if truth[c] == 0 else float(2 * joint[c, c] / (truth[c] + predicted[c])) for c in range(num_classes)]
    return dice[1:]


def measure_volumes(
    segment: Callable[[Volume], sitk.Image],
    dataset: Dataset,
    names: Sequence[str],
    *,
    unit: str = "mm",
    resample_channels: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Segment whole cases as a user would and compare with their labels: the content of metrics.json.

    segment: `Segmenter.segment`. unit: what distances are measured in (of UNITS).
    """
    cases = {case.name: case for case in dataset.cases}
    structures = {name: value for name, value in dataset.labels.items() if value != 0}
    measured = {}
    for number, name in enumerate(names):
        if progress:
            progress(number, len(names))
        volume, label = check_case(cases[name], dataset, unit=unit, resample_channels=resample_channels)
        prediction = segment(volume)
        spacing = (1.0, 1.0, 1.0) if unit == "pixel" else volume.grid.spacing[::-1]
        measured[name] = evaluate_case(channel_arrays(prediction)[0], channel_arrays(label)[0], spacing, structures)
    if progress:
        progress(len(names), len(names))
    return summarise(measured, unit)
