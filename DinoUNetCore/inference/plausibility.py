"""Is this image like those that the model was trained on? What is not is said before the run, in plain sentences."""

import numpy as np

from DinoUNetCore.volume.geometry import Slicing
from DinoUNetCore.volume.volume import Volume
from DinoUNetCore.weights.bundle import ModelBundle

FAR = 2.0  # spacings beyond the training's by more than this factor are worth a word
SAMPLES = 500_000  # voxels looked at per channel

# Hounsfield units: air is -1000 and fat about -100, and a scan of a body shows at least one of them.
_TRAINED_WITH_AIR = -150.0
_NEITHER_AIR_NOR_FAT = -50.0


def cautions(bundle: ModelBundle, volume: Volume) -> list[str]:
    """One sentence for each respect in which the volume is far from the model's training; usually none."""
    slicing = Slicing.of(volume.grid, bundle.plane, bundle.unit)
    sentences = [*_about_dimension(bundle, volume, slicing), *_about_spacing(bundle, volume, slicing)]
    for number, channel in enumerate(volume.channels[: len(bundle.normalization)]):
        if bundle.normalization[number].scheme == "ct":
            sentences += _about_ct(slicing.cut(channel), *bundle.intensity_range[number])
    return sentences


def _about_dimension(bundle: ModelBundle, volume: Volume, slicing: Slicing) -> list[str]:
    slices = slicing.cut(volume.channels[0]).shape[0]
    if volume.grid.dimension == 2 and bundle.dimension == 3:
        return ["this is a 2D picture, but the model was trained on slices of volumes; look at the result critically."]
    if slices > 1 and bundle.dimension == 2:
        return [
            f"this is a volume of {slices} slices, but the model was trained on 2D pictures; "
            "each slice is segmented by itself, so look at the result critically."
        ]
    return []


def _about_spacing(bundle: ModelBundle, volume: Volume, slicing: Slicing) -> list[str]:
    if bundle.unit == "pixel":
        return []
    sentences = []
    slices = len(slicing.cut(volume.channels[0]))
    names = ["its slices", "its rows", "its columns"]
    if len(bundle.planes) > 1:  # they make an axis now this and now that
        names = [f"its voxels along {axis}" for axis in slicing.axes]
    for axis, name in enumerate(names):
        if axis == 0 and (slices == 1 or bundle.dimension == 2):
            continue
        spacing, (least, most) = slicing.spacing[axis], bundle.spacing_range[axis]
        if spacing > FAR * most or spacing < least / FAR:
            seen = f"{least:.3g} mm" if f"{least:.3g}" == f"{most:.3g}" else f"{least:.3g} to {most:.3g} mm"
            sentences.append(
                f"{name} are {spacing:.3g} mm apart, in the model's training they were {seen}; "
                "check the image's spacing, or look at the result critically."
            )
    return sentences


def _about_ct(slices: np.ndarray, low: float, high: float) -> list[str]:
    """low, high: 0.5 and 99.5 percentiles of the training's images, in Hounsfield units."""
    least, most = np.percentile(_sample(slices), (0.5, 99.5))
    span = high - low
    without_air = low < _TRAINED_WITH_AIR and least > _NEITHER_AIR_NOR_FAT
    if without_air or most > high + 0.5 * span + 1000 or most - least < 0.05 * span:
        return [
            f"its intensities ({least:.4g} to {most:.4g}) are unlike the CT scans that the model was trained on "
            f"({low:.4g} to {high:.4g}); give a CT in Hounsfield units, or expect wrong labels."
        ]
    return []


def _sample(slices: np.ndarray) -> np.ndarray:
    """About SAMPLES voxels, evenly spread over (slices, rows, columns)."""
    step = max(1, round((slices.size / SAMPLES) ** (1 / 3)))
    steps = [step if length > 4 * step else 1 for length in slices.shape]
    return np.array([np.array(plane[:: steps[1], :: steps[2]]) for plane in slices[:: steps[0]]])
