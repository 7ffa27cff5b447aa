"""The rules by which a plan is made. Each returns its choice and the reason, with the numbers that led to it."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from DinoUNetCore.dataset.fingerprint import Fingerprint
from DinoUNetCore.dataset.layout import Dataset
from DinoUNetCore.dataset.plan_checks import PATCH_MULTIPLE, SMALLEST_PATCH_SIDE
from DinoUNetCore.volume.geometry import AXES, Slicing, choose_plane, lps_spacing
from DinoUNetCore.volume.intensity import ChannelNormalization
from DinoUNetCore.volume.volume import Grid

# The longer side, in pixels, that the median slice has at least after resampling, and that a patch has at most.
SMALLEST_SLICE_SIDE = {"tiny": 96}
LARGEST_PATCH_SIDE = {"tiny": 256}
AUTHORS_SIDE = 512

AUTHORS_BATCH = 13  # of 512 x 512 patches; nnU-Net's 2D plan for the paper's GPUs
AUTHORS_SHARE = 0.05  # of the data set's pixels that a batch may hold
TINY_BATCH_PIXELS = 8 * 128 * 128  # fewer make more steps of the same time, more make steadier ones
TINY_BATCH_RANGE = (2, 32)
THICKEST_CONTEXT = 3  # neighbouring slices further apart than this many pixels show too little of the same


class Room(Protocol):
    """A device's memory: `free` bytes, in which so many `patches` of (rows, columns) and network inputs can train."""

    free: int

    def patches(self, patch_size: Sequence[int], channels: int) -> int: ...


@dataclass(frozen=True)
class Cut:
    """One case in slices: number, shape (rows, columns), spacing (slice, row, column; plan's unit), anatomical axes."""

    slices: int
    shape: tuple[int, int]
    spacing: tuple[float, float, float]
    row_axis: str
    column_axis: str


def cut_cases(grids: Sequence[Grid], plane: str, unit: str) -> list[Cut]:
    """How each grid is cut in `plane`."""
    cuts = []
    for grid in grids:
        slicing = Slicing.of(grid, plane, unit)
        slices, rows, columns = (grid.size[::-1][axis] for axis in slicing.permutation)
        cuts.append(Cut(slices, (rows, columns), slicing.spacing, slicing.row_axis, slicing.column_axis))
    return cuts


def choose_unit(dataset: Dataset, dimension: int) -> tuple[str, str]:
    """pixel for 2D images from files that store a printer's resolution, else mm."""
    if dimension == 3:
        return "mm", "volumes are taken at the spacing that their files store"
    if dataset.unit == "pixel":
        return "pixel", (
            f"the images are {dataset.file_ending} files, which store a printer's resolution: it is not used, and a "
            "pixel counts as 1 x 1"
        )
    return "mm", f"the images are {dataset.file_ending} files, which store the spacing of what they show"


def choose_training_plane(grids: Sequence[Grid], plane: str) -> tuple[str, str]:
    """Resolve "finest" on the median spacing of the set. UserError for an unknown plane."""
    if grids[0].dimension == 2:
        return choose_plane(grids[0], plane), "pictures are taken as they are stored; the plane has no meaning"
    median = [float(np.median(spacings)) for spacings in zip(*map(lps_spacing, grids), strict=True)]
    chosen = choose_plane(median, plane)
    if plane != "finest":
        return chosen, f"{plane} slices were asked for"
    return chosen, (
        f"the median spacing is {_by(median)} mm ({', '.join(AXES)}): {chosen} slices have the smallest pixels "
        "(ties go to axial, then coronal)"
    )


def median_spacing(cuts: Sequence[Cut]) -> list[float]:
    """Median (row, column) spacing of the set's slices, in the plan's unit."""
    return [float(np.median([cut.spacing[axis] for cut in cuts])) for axis in (1, 2)]


def median_shape(cuts: Sequence[Cut], spacing: Sequence[float]) -> tuple[float, float]:
    """Median rows and columns of the set's slices at `spacing` (row, column), not rounded."""
    rows = np.median([cut.shape[0] * cut.spacing[1] / spacing[0] for cut in cuts])
    columns = np.median([cut.shape[1] * cut.spacing[2] / spacing[1] for cut in cuts])
    return float(rows), float(columns)


def choose_spacing(
    cuts: Sequence[Cut], unit: str, variant: str, given: Sequence[float] | None = None
) -> tuple[list[float], str]:
    """The median in-plane spacing, made finer or coarser by one factor where slices would be too small or too large."""
    if given is not None:
        return list(given), f"{_by(given)} {unit} were asked for"
    median = median_spacing(cuts)
    return suited_spacing(median, median_shape(cuts, median), unit, variant)


def suited_spacing(
    median: Sequence[float], shape: Sequence[float], unit: str, variant: str
) -> tuple[list[float], str]:
    """A median spacing, by one factor such that its median slice of `shape` is neither too small nor too large."""
    least = SMALLEST_SLICE_SIDE.get(variant, AUTHORS_SIDE)
    most = 2 * LARGEST_PATCH_SIDE.get(variant, AUTHORS_SIDE)
    facts = f"at the median spacing {_by(median)} {unit} the median slice has {_pixels(shape)} pixels"
    factor = 1.0
    if max(shape) < least:
        factor = max(shape) / least
        reason = (
            f"{facts}; it is made {1 / factor:.3g} times finer, so that the longer side has {least}, as suits {variant}"
        )
    elif max(shape) > most:
        factor = max(shape) / most
        reason = (
            f"{facts}; it is made {factor:.3g} times coarser, so that the longer side has {most}, as suits {variant}"
        )
    else:
        reason = f"{facts}, whose longer side is within the {least} to {most} that suit {variant}"
    return [float(f"{side * factor:.6g}") for side in median], reason


def choose_patch_size(
    cuts: Sequence[Cut], spacing: Sequence[float], variant: str, given: Sequence[int] | None = None
) -> tuple[list[int], str]:
    """The median slice, rounded up to what the network takes, at most the variant's largest patch."""
    if given is not None:
        return list(given), f"{_by(given)} pixels were asked for"
    shape = median_shape(cuts, spacing)
    most = LARGEST_PATCH_SIDE.get(variant, AUTHORS_SIDE)
    # a thousandth of a pixel is rounding of the spacing, not a reason for another 32 pixels
    rounded = [PATCH_MULTIPLE * math.ceil((side - 1e-3) / PATCH_MULTIPLE) for side in shape]
    patch = [min(max(side, SMALLEST_PATCH_SIDE), most) for side in rounded]
    return patch, (
        f"the median slice has {_pixels(shape)} pixels at this spacing; rounded up to multiples of {PATCH_MULTIPLE}, "
        f"at least {SMALLEST_PATCH_SIDE}, at most {most} for {variant}"
    )


def fit_into_room(
    patch: Sequence[int], reason: str, room: Room, channels: int, shrink: bool = True
) -> tuple[list[int], str, int]:
    """Shrink a patch, the longer side first, until two of them can train in `room`. Also returns how many can."""
    wanted = list(patch)
    fitting = list(patch)
    fits = room.patches(fitting, channels)
    while shrink and fits < 2 and max(fitting) > SMALLEST_PATCH_SIDE:
        fitting[fitting.index(max(fitting))] -= PATCH_MULTIPLE
        fits = room.patches(fitting, channels)
    if fitting != wanted:
        reason += f"; made smaller than {_by(wanted)}, of which no two can train in {_gigabytes(room)} of free memory"
    return fitting, reason, fits


def choose_batch_size(
    cuts: Sequence[Cut], spacing: Sequence[float], patch: Sequence[int], variant: str, given: int | None = None
) -> tuple[int, str]:
    """The tiny variant: a fixed number of pixels. The others: the authors' rule."""
    if given is not None:
        return given, f"{given} patches were asked for"
    pixels = patch[0] * patch[1]
    if variant == "tiny":
        least, most = TINY_BATCH_RANGE
        batch = min(max(round(TINY_BATCH_PIXELS / pixels), least), most)
        return batch, (
            f"{batch} patches of {_by(patch)} have about the pixels of 8 patches of 128 x 128; "
            f"at least {least}, at most {most}"
        )
    areas = (cut.slices * cut.shape[0] * cut.spacing[1] * cut.shape[1] * cut.spacing[2] for cut in cuts)
    total = sum(areas) / (spacing[0] * spacing[1])
    share = int(AUTHORS_SHARE * total / pixels)
    batch = max(2, min(AUTHORS_BATCH, share))
    return batch, (
        f"5 % of the data set's {total / 1e6:.3g} million pixels are {share} patches of {_by(patch)}; "
        f"at least 2, at most {AUTHORS_BATCH} (the authors' rule)"
    )


def limit_batch_size(batch: int, reason: str, fits: int, room: Room) -> tuple[int, str]:
    """No more patches than can train in the device's memory. More room makes no larger batches: the learning rate of
    the recipes is for these.
    """
    fact = f"{_gigabytes(room)} of free memory have room for about {fits}"
    return (batch, f"{reason}; {fact}") if batch <= fits else (max(1, fits), f"{reason}; but {fact}")


def choose_context_slices(
    cuts: Sequence[Cut], dimension: int, channels: int, given: int | None = None
) -> tuple[int, str]:
    """3 where a one-channel volume's neighbouring slices lie close enough to show the same structures, else 1."""
    if given is not None:
        return given, f"{given} slice(s) were asked for"
    if dimension == 2:
        return 1, "pictures have no neighbouring slices"
    if channels > 1:
        return 1, f"the cases' {channels} channels leave no room for neighbouring slices"
    if np.median([cut.slices for cut in cuts]) < 2:
        return 1, "most cases have one slice"
    between, row, column = (float(np.median([cut.spacing[axis] for cut in cuts])) for axis in range(3))
    pixel = math.sqrt(row * column)
    ratio = between / pixel
    opinion = "close enough to show the same structures"
    close = between <= THICKEST_CONTEXT * pixel * (1 + 1e-6)
    if not close:
        opinion = f"more than the {THICKEST_CONTEXT} up to which they show much the same"
    return (3 if close else 1), (
        f"neighbouring slices are {between:.3g} mm apart, {ratio:.3g} times a pixel's {pixel:.3g} mm: {opinion}"
    )


def choose_normalization(dataset: Dataset, fingerprint: Fingerprint) -> tuple[list[ChannelNormalization], str]:
    """ct for channels called CT, rgb for three colours, else zscore."""
    names = dataset.channel_names
    if len(names) == 3 and (_are_colours(names) or all(len(case.images) == 1 for case in dataset.cases)):
        return [
            ChannelNormalization("rgb")
        ] * 3, "the three channels are colours: each image gets one mean and deviation"
    chosen, reasons = [], []
    for name, channel in zip(names, fingerprint.channels, strict=True):
        if "ct" in re.findall(r"[^\W\d_]+", name.casefold()):
            low, high = channel.foreground_low, channel.foreground_high
            mean, std = channel.foreground_mean, channel.foreground_std
            chosen.append(ChannelNormalization("ct", low, high, mean, std))
            reasons.append(
                f"channel {name} is in Hounsfield units: clipped to {low:g} to {high:g}, the labelled voxels' 0.5 and "
                f"99.5 percentiles, with their mean {mean:g} and deviation {std:g}"
            )
        else:
            chosen.append(ChannelNormalization("zscore"))
            reasons.append(f"channel {name} is not called CT: each image gets its own mean and deviation")
    return chosen, "; ".join(reasons)


def _are_colours(names: Sequence[str]) -> bool:
    return [name.strip().casefold() for name in names] in (["r", "g", "b"], ["red", "green", "blue"])


def _by(numbers: Sequence[float]) -> str:
    return " x ".join(f"{number:.4g}" for number in numbers)


def _gigabytes(room: Room) -> str:
    return f"the device's {room.free / 1e9:.3g} GB"


def _pixels(shape: Sequence[float]) -> str:
    return " x ".join(str(round(side)) for side in shape)
