"""Validation: a quick Dice on patches after every epoch, and the full measure on whole volumes at the end."""

from collections.abc import Callable, Iterable, Sequence

import SimpleITK as sitk
import torch
from torch import Tensor

from DinoUNetCore.dataset.label_scheme import scheme_of
from DinoUNetCore.dataset.layout import Dataset, check_case
from DinoUNetCore.metrics import evaluate_case
from DinoUNetCore.training.losses import Total, identity
from DinoUNetCore.training.targets import counted, found_by, truth_of
from DinoUNetCore.volume.label_scheme import LabelScheme
from DinoUNetCore.volume.volume import Volume, channel_arrays


def dice_on_patches(
    batches: Iterable[tuple[Tensor, Tensor]],
    scheme: LabelScheme,
    forward: Callable[[Tensor], Tensor],
    total: Total = identity,
) -> list[float | None]:
    """Dice of each of the scheme's names over all patches together; None for one that occurs in none of them.

    batches: (B, C, H, W) and class indices (B, H, W). forward: the network in eval mode, returning logits. total: the
    sum over all processes, of which each has batches of its own.
    """
    counts = torch.zeros(3, len(scheme.names), dtype=torch.int64)  # in common, in truth, found
    with torch.inference_mode():
        for image, label in batches:
            logits = forward(image)
            classes = label[:, None].to(logits.device)
            truth, found = truth_of(classes, scheme), found_by(logits, scheme)
            if (counting := counted(classes, scheme)) is not None:
                found = found & counting  # in ignored pixels there is no truth
            pixels = torch.stack([mask.sum((0, 2, 3)) for mask in (truth & found, truth, found)])
            counts = counts.to(pixels.device) + pixels
    common, true, found = total(counts.cpu()).tolist()
    return [2 * c / (t + f) if t else None for c, t, f in zip(common, true, found, strict=True)]


def measure_cases(
    segment: Callable[[Volume], sitk.Image],
    dataset: Dataset,
    names: Sequence[str],
    *,
    unit: str = "mm",
    resample_channels: bool = False,
    progress: Callable[[int, int], None] | None = None,
    keep: Callable[[str, sitk.Image], None] | None = None,
) -> dict[str, dict[str, dict]]:
    """Segment whole cases as a user would and compare with their labels: {case: what `evaluate_case` returns}.

    segment: `Segmenter.segment`. unit: what distances are measured in (of UNITS). keep: takes the name and the
    segmentation of each case.
    """
    cases = {case.name: case for case in dataset.cases}
    structures = scheme_of(dataset).structures
    measured = {}
    for number, name in enumerate(names):
        if progress:
            progress(number, len(names))
        volume, label = check_case(cases[name], dataset, unit=unit, resample_channels=resample_channels)
        prediction = segment(volume)
        if keep:
            keep(name, prediction)
        spacing = (1.0, 1.0, 1.0) if unit == "pixel" else volume.grid.spacing[::-1]
        measured[name] = evaluate_case(channel_arrays(prediction)[0], channel_arrays(label)[0], spacing, structures)
    if progress:
        progress(len(names), len(names))
    return measured
