"""Which cases went well and which did not: pictures of the best, the median and the worst one, from their files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from DinoUNetCore.dataset.label_scheme import scheme_of
from DinoUNetCore.dataset.layout import Case, Dataset
from DinoUNetCore.dataset.plan import Plan
from DinoUNetCore.errors import UserError
from DinoUNetCore.metrics import mean
from DinoUNetCore.overlay import OverlayRow, save_overlay
from DinoUNetCore.volume.geometry import Slicing
from DinoUNetCore.volume.label_scheme import BACKGROUND
from DinoUNetCore.volume.labels import Label
from DinoUNetCore.volume.reading import read_label_map, read_volume
from DinoUNetCore.volume.volume import Volume, channel_arrays

PREDICTION_ENDINGS = (".nii.gz", ".png")  # of the files in a run's folder "validation"
IGNORED_COLOR = (150, 150, 150)


@dataclass(frozen=True)
class Example:
    """A case to show.

    rank: "best", "median", "worst" or "only". dice: the mean over its structures. prediction: its label map.
    """

    rank: str
    case: str
    dice: float
    prediction: Path


def case_dice(cases: Mapping[str, Mapping[str, Mapping]]) -> dict[str, float | None]:
    """{case: mean Dice over its structures} of {case: result of `metrics.evaluate_case`}; None: nothing to measure."""
    return {name: mean(result["dice"] for result in case.values()) for name, case in cases.items()}


def find_predictions(folder: Path, names: Sequence[str]) -> dict[str, Path]:
    """The label maps of these cases in a folder such as RUN/validation; cases without one are left out."""
    files = {name: [folder / (name + ending) for ending in PREDICTION_ENDINGS] for name in names}
    return {name: found[0] for name, paths in files.items() if (found := [path for path in paths if path.is_file()])}


def choose_examples(dice: Mapping[str, float | None], predictions: Mapping[str, Path]) -> list[Example]:
    """The best, the median (of an even number: the better one) and the worst of the cases that have a Dice and a
    prediction; fewer where there are fewer cases. Cases of one Dice are taken in the order of their names.
    """
    known = {name: dice[name] for name in predictions if dice.get(name) is not None}
    ranked = sorted(known, key=lambda name: (-known[name], name))
    if len(ranked) > 2:
        chosen = {"best": ranked[0], "median": ranked[(len(ranked) - 1) // 2], "worst": ranked[-1]}
    else:
        chosen = dict(zip(("best", "worst") if len(ranked) == 2 else ("only",), ranked, strict=False))
    return [Example(rank, name, known[name], predictions[name]) for rank, name in chosen.items()]


def draw_cases(
    path: Path, examples: Sequence[Example], dataset: Dataset, plan: Plan, labels: Sequence[Label], title: str
) -> None:
    """Write a PNG with image, reference and prediction of each example, at the slice (of the plan's plane) that shows
    most of the reference's structures. UserError for files that cannot be read or do not belong together.
    """
    cases = {case.name: case for case in dataset.cases}
    rows = [_row(example, cases[example.case], plan) for example in examples]
    if plan.ignore is not None:
        labels = [*labels, Label("not judged (ignore)", plan.ignore, IGNORED_COLOR)]
    save_overlay(path, rows, labels, title)


def _row(example: Example, case: Case, plan: Plan) -> OverlayRow:
    volume = read_volume(case.images[:1], unit=plan.unit)  # the first channel, or the colours of a picture
    truth = as_written(channel_arrays(read_label_map(case.label))[0], plan)
    predicted = channel_arrays(read_label_map(example.prediction))[0]
    if not volume.channels[0].shape == truth.shape == predicted.shape:
        raise UserError(
            f"{example.prediction} has another size than {case.images[0]} or {case.label}; was it made for this data "
            "set? Validate again."
        )
    slicing = Slicing.of(volume.grid, plan.plane, plan.unit)
    truth, predicted = slicing.cut(truth), slicing.cut(predicted)
    judged = without_ignored(truth, plan)
    index = telling_slice(judged if judged.any() else predicted)
    where = f", {slicing.plane} slice {index + 1} of {len(truth)}" if plan.dimension == 3 else ""
    normalization = plan.normalization[0]
    return OverlayRow(
        f"{example.rank}: {example.case}{where}, mean Dice {example.dice:.3f}",
        _shown(volume, slicing, index),
        truth[index],
        predicted[index],
        slicing.spacing[1] / slicing.spacing[2],
        (normalization.low, normalization.high) if normalization.scheme == "ct" else None,
    )


def _shown(volume: Volume, slicing: Slicing, index: int) -> np.ndarray:
    channels = [slicing.cut(channel)[index] for channel in volume.channels]
    return np.stack(channels, axis=-1) if len(channels) == 3 else channels[0]


def as_written(truth: np.ndarray, plan: Plan) -> np.ndarray:
    """A reference as a perfect prediction would be written: of overlapping regions, later ones lie over earlier ones.
    Voxels to be ignored keep their value.
    """
    scheme = scheme_of(plan)
    written = np.array([BACKGROUND, *scheme.written])[scheme.shown[scheme.class_indices(truth)]]
    return np.where(truth == scheme.ignore, truth, written)


def without_ignored(truth: np.ndarray, plan: Plan) -> np.ndarray:
    """A reference whose voxels to be ignored are background."""
    return truth if plan.ignore is None else np.where(truth == plan.ignore, BACKGROUND, truth)


def telling_slice(labels: np.ndarray) -> int:
    """The index of the slice of (slices, rows, columns) that shows most of the structures: the shares that it holds of
    each one's voxels, summed, so that small structures count as much as large ones. Without any: the middle.
    """
    shares = np.zeros(len(labels))
    for value in np.unique(labels):
        if value != 0:
            voxels = np.count_nonzero(labels == value, axis=(1, 2))
            shares += voxels / voxels.sum()
    return int(shares.argmax()) if shares.any() else len(labels) // 2
