"""Validation: a quick Dice on slices after every epoch, and the full measure on whole volumes at the end."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from torch import nn

from DinoUNetCore.dataset.layout import Dataset, check_case
from DinoUNetCore.dataset.preprocessing import PreparedCase
from DinoUNetCore.dataset.slices import validation_batch
from DinoUNetCore.metrics import evaluate_case, summarise
from DinoUNetCore.volume.volume import Volume, channel_arrays


def choose_slices(cases: Sequence[PreparedCase], count: int) -> list[tuple[PreparedCase, list[int]]]:
    """About `count` slices, spread evenly over the cases and over each case's slices; the same in every epoch."""
    per_case = max(1, count // len(cases))
    if len(cases) > count:
        cases = [cases[i] for i in np.linspace(0, len(cases) - 1, count).round().astype(int)]
    picks = []
    for case in cases:
        depth = case.shape[0]
        middle_of_parts = (np.arange(min(per_case, depth)) + 0.5) * depth / min(per_case, depth)
        picks.append((case, [int(i) for i in middle_of_parts]))
    return picks


def dice_on_slices(
    network: nn.Module,
    picks: Sequence[tuple[PreparedCase, list[int]]],
    num_classes: int,
    context_slices: int,
    forward: Callable[[torch.Tensor], torch.Tensor],
) -> list[float | None]:
    """Dice per foreground class over all picked slices together; None for a class that occurs in none of them.

    `forward` maps (1, C, H, W) to logits on the device and in the precision of the training.
    """
    overlap, total, present = (np.zeros(num_classes) for _ in range(3))
    training = network.training
    network.eval()
    with torch.inference_mode():
        for image, label in _slices(picks, context_slices):
            predicted = forward(image).argmax(dim=1).cpu()
            joint = torch.bincount((label * num_classes + predicted).flatten(), minlength=num_classes**2)
            joint = joint.view(num_classes, num_classes).double().numpy()  # rows: truth, columns: prediction
            overlap += np.diag(joint)
            total += joint.sum(axis=0) + joint.sum(axis=1)
            present += joint.sum(axis=1)
    network.train(training)
    return [2 * overlap[c] / total[c] if present[c] > 0 else None for c in range(1, num_classes)]


def _slices(picks: Sequence[tuple[PreparedCase, list[int]]], context_slices: int) -> Iterator[tuple]:
    for case, indices in picks:
        for index in indices:
            yield validation_batch(case, [index], context_slices)


def measure_volumes(
    segment: Callable[[Volume], sitk.Image],
    dataset: Dataset,
    names: Sequence[str],
    *,
    resample_channels: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Segment whole cases as a user would and compare with their labels: the content of metrics.json.

    segment: `Segmenter.segment`.
    """
    cases = {case.name: case for case in dataset.cases}
    structures = {name: value for name, value in dataset.labels.items() if value != 0}
    measured = {}
    for number, name in enumerate(names):
        if progress:
            progress(number, len(names))
        volume, label = check_case(cases[name], dataset, resample_channels=resample_channels)
        prediction = segment(volume)
        measured[name] = evaluate_case(
            channel_arrays(prediction)[0], channel_arrays(label)[0], volume.grid.spacing[::-1], structures
        )
    if progress:
        progress(len(names), len(names))
    return summarise(measured)
