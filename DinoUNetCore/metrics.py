"""How well one label map agrees with another: Dice, HD95, average surface distance and surface Dice per class.

Per class and case, with distances in the unit of the spacing (mm, or pixels for pictures without one):

- `dice`: 2 |P and R| / (|P| + |R|) over voxels.
- `hd95`: the 95th percentile of the distances from the prediction's surface to the reference's, and of those back; the
  larger of the two.
- `asd`: mean distance from the prediction's surface to the reference's (one direction, as the literature's ASD).
- `assd`: mean over the distances of both directions together (average symmetric surface distance). The one to look at:
  `asd` does not notice a part of the reference that the prediction misses.
- `nsd`: the share of both surfaces that lies within a tolerance of the other one (normalised surface Dice).

A surface is the centres of those voxels of a class that have a neighbour along an axis outside the class; beyond the
image's border everything is outside. Each surface voxel counts once. An axis of size 1 is no axis: a volume of one
slice is measured as the 2D image that it is (in 3D all its voxels would be surface).

Empty classes:

- In neither map: there is nothing to measure. All five values are None, and no mean counts them.
- In one map only (missed or invented): `dice` and `nsd` are 0; `hd95`, `asd` and `assd` take the worst value there can
  be, the length of the image's diagonal. The means count them like any other value, so that leaving out a
  difficult structure never pays; `missed` and `invented` say in how many cases it happened.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from DinoUNetCore.errors import UserError
from DinoUNetCore.volume.label_scheme import IGNORE

METRICS = ("dice", "hd95", "asd", "assd", "nsd")
TOLERANCE = 1.0  # mm or pixels
MOST_BOXES = 65535  # up to this value of a label, a table with a place for every value is small

Box = tuple[slice, ...]


def evaluate_case(
    prediction: np.ndarray,
    reference: np.ndarray,
    spacing: Sequence[float],
    labels: Mapping[str, int | Sequence[int]],
    *,
    tolerance: float = TOLERANCE,
) -> dict[str, dict]:
    """Measure every class of one case.

    prediction, reference: label maps of the same shape, whole numbers from 0 up, 1 to 3 axes.
    spacing: along each axis, in the arrays' order of axes (the reverse of SimpleITK's for its arrays).
    labels: name -> value, or the values of a region, which may overlap others. The background (value 0) is no class.
        Voxels whose reference has the label named "ignore" count as background in both maps. Values without a name are
        not looked at: see `present_values`.
    tolerance: for `nsd`, in the unit of `spacing`.

    Returns {name: {"dice", "hd95", "asd", "assd", "nsd": float or None, "prediction_voxels", "reference_voxels": int}}.
    Memory: a few bytes per voxel of the largest class's bounding box, and about 100 bytes per surface voxel.
    """
    prediction, reference = np.asarray(prediction), np.asarray(reference)
    if prediction.shape != reference.shape or len(spacing) != prediction.ndim:
        raise ValueError(f"shapes {prediction.shape} and {reference.shape} and spacing {tuple(spacing)} do not agree")
    prediction, spacing_used = _without_single_axes(prediction, spacing)
    reference, _ = _without_single_axes(reference, spacing)
    classes = {name: value for name, value in labels.items() if value != 0 and not _is_ignore(name)}
    for value in (value for name, value in labels.items() if _is_ignore(name)):
        judged = reference != value
        prediction, reference = prediction * judged, reference * judged
    prediction_boxes = _boxes(prediction)
    reference_boxes = _boxes(reference)
    diagonal = math.hypot(*(size * step for size, step in zip(prediction.shape, spacing_used, strict=True)))
    results = {}
    for name, value in classes.items():
        values = [value] if isinstance(value, int) else list(value)
        predicted = _Region(prediction, values, prediction_boxes, spacing_used)
        expected = _Region(reference, values, reference_boxes, spacing_used)
        results[name] = _compare(predicted, expected, diagonal, tolerance)
    return results


def summarise(cases: Mapping[str, Mapping[str, Mapping]], unit: str = "mm") -> dict:
    """Means over {case name: result of `evaluate_case`}; JSON-ready (None where nothing was measured, never NaN).

    unit: of the distances. Returns {"unit", "mean": {metric: value}, "labels": {name: {metric: mean over the cases that
    count, "cases": how many those are, "missed", "invented": how many of them have the class in the reference or in the
    prediction only}}, "cases"}. "mean" is the mean over the classes' means, so that rare classes weigh as much as
    common ones.
    """
    names = list(dict.fromkeys(name for case in cases.values() for name in case))
    labels = {}
    for name in names:
        counted = [case[name] for case in cases.values() if name in case and case[name]["dice"] is not None]
        labels[name] = {metric: mean(result[metric] for result in counted) for metric in METRICS}
        labels[name]["cases"] = len(counted)
        labels[name]["missed"] = sum(result["prediction_voxels"] == 0 for result in counted)
        labels[name]["invented"] = sum(result["reference_voxels"] == 0 for result in counted)
    overall = {metric: mean(label[metric] for label in labels.values()) for metric in METRICS}
    measured = {name: dict(case) for name, case in cases.items()}
    return {"unit": unit, "mean": overall, "labels": labels, "cases": measured}


def mean(values) -> float | None:
    """The mean of those values that are not None; None if there are none."""
    values = [value for value in values if value is not None]
    return math.fsum(values) / len(values) if values else None


def present_values(array: np.ndarray) -> list[int]:
    """The values above 0 in a label map, ascending. Raises ValueError for what are not whole numbers from 0 up."""
    return sorted(_boxes(np.asarray(array)))


class _Region:
    """The voxels of one class, or of several as one, in a map: how many, and the centres of those at their surface.

    boxes: of the map's values. box: around those of the class; None where it is empty.
    """

    # scipy directly, not monai.metrics: MONAI 1.6 gives the same numbers (the tests compare them) from the same scipy
    # functions, but finds all surfaces and distances anew for each metric, in float32 copies (5 times slower), takes
    # seconds to import, and cannot measure a one-slice volume in 2D by itself.
    def __init__(self, array: np.ndarray, values: list[int], boxes: Mapping[int, Box], spacing: Sequence[float]):
        self.array, self.spacing = array, spacing
        self.values = [value for value in values if value in boxes]
        self.box = _around([boxes[value] for value in self.values])
        self.voxels = 0 if self.box is None else int(np.count_nonzero(self.inside(self.box)))

    def inside(self, box: Box) -> np.ndarray:
        """Which voxels of a box belong to the class."""
        part = self.array[box]
        return part == self.values[0] if len(self.values) == 1 else np.isin(part, self.values)

    def surface(self) -> np.ndarray:
        """(points, axes) float64, in the spacing's unit from the centre of the array's first voxel."""
        ndimage, _ = _scipy()
        inside = self.inside(self.box)
        points = np.argwhere(inside & ~ndimage.binary_erosion(inside))  # border_value 0: the image's border is surface
        return (points + [part.start for part in self.box]) * self.spacing


def _compare(predicted: _Region, expected: _Region, diagonal: float, tolerance: float) -> dict:
    counts = {"prediction_voxels": predicted.voxels, "reference_voxels": expected.voxels}
    if not predicted.voxels and not expected.voxels:
        return dict.fromkeys(METRICS) | counts
    if not predicted.voxels or not expected.voxels:
        return {"dice": 0.0, "hd95": diagonal, "asd": diagonal, "assd": diagonal, "nsd": 0.0} | counts
    box = predicted.box  # no common voxel lies outside it
    common = np.count_nonzero(predicted.inside(box) & expected.inside(box))
    _, spatial = _scipy()
    predicted_surface, expected_surface = predicted.surface(), expected.surface()
    there = spatial.KDTree(expected_surface).query(predicted_surface)[0]
    back = spatial.KDTree(predicted_surface).query(expected_surface)[0]
    both = np.concatenate([there, back])
    return {
        "dice": 2 * int(common) / (predicted.voxels + expected.voxels),
        "hd95": float(max(np.percentile(there, 95), np.percentile(back, 95))),
        "asd": float(there.mean()),
        "assd": float(both.mean()),
        "nsd": float(np.mean(both <= tolerance + 1e-6)),  # 3 x 0.1 mm is within 0.3 mm, whatever floats say
    } | counts


def _is_ignore(name: str) -> bool:
    return name.strip().casefold() == IGNORE


def _without_single_axes(array: np.ndarray, spacing: Sequence[float]) -> tuple[np.ndarray, list[float]]:
    kept = [axis for axis, size in enumerate(array.shape) if size > 1] or [0]
    return array.reshape([array.shape[axis] for axis in kept]), [float(spacing[axis]) for axis in kept]


def _boxes(array: np.ndarray) -> dict[int, Box]:
    """The bounding box of every value above 0, found in one pass over the array, however many classes there are."""
    if array.dtype == bool:
        array = array.view(np.uint8)
    if array.dtype.kind not in "iu" or array.min() < 0:
        raise ValueError("label values must be whole numbers from 0 up")
    ndimage, _ = _scipy()
    if array.max() <= MOST_BOXES:
        return {value: box for value, box in enumerate(ndimage.find_objects(array), start=1) if box is not None}
    values, numbers = _numbered(array)
    return dict(zip(values, ndimage.find_objects(numbers), strict=True))


def _around(boxes: Sequence[Box]) -> Box | None:
    """The smallest box that holds all; None for none."""
    if not boxes:
        return None
    sides = zip(*boxes, strict=True)  # along each axis
    return tuple(slice(min(side.start for side in axis), max(side.stop for side in axis)) for axis in sides)


def _numbered(array: np.ndarray) -> tuple[list[int], np.ndarray]:
    """The values above 0, ascending, and the array with their numbers 1, 2, ... in their place (int32)."""
    values = np.zeros(1, dtype=array.dtype)
    for part in array:  # slice by slice, so that no copy of a volume is sorted
        values = np.union1d(values, part)
    numbers = np.empty(array.shape, dtype=np.int32)
    for index, part in enumerate(array):
        numbers[index] = np.searchsorted(values, part)
    return values[1:].tolist(), numbers


def _scipy():
    """scipy.ndimage and scipy.spatial, imported at first use: `--help` and a segmentation need neither."""
    try:
        from scipy import ndimage, spatial
    except ImportError:
        raise UserError(
            'scipy, which measures the distances, is not installed; run python -m pip install "dinounet-slicer[train]".'
        ) from None
    return ndimage, spatial
