"""The rules of planning that look at slices, for one plane or for several that one network is to be trained on.

With several planes an axis of the body is a row in one and a column in another: the network sees all of them at one
spacing, the same along rows and columns. `cuts_in` is {plane: how each case is cut in it}.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from DinoUNetCore.dataset.planning import (
    THICKEST_CONTEXT,
    Cut,
    choose_context_slices,
    choose_patch_size,
    choose_spacing,
    choose_training_plane,
    median_shape,
    median_spacing,
    suited_spacing,
)
from DinoUNetCore.errors import UserError
from DinoUNetCore.volume.volume import Grid

CutsIn = Mapping[str, Sequence[Cut]]


def choose_planes(
    grids: Sequence[Grid], plane: str, planes: Sequence[str] | None = None
) -> tuple[list[str], str]:
    """The planes that were asked for; without any, `plane`. UserError for several planes of pictures."""
    if planes is None or len(planes) == 1:
        chosen, reason = choose_training_plane(grids, planes[0] if planes else plane)
        return [chosen], reason
    if grids[0].dimension == 2:
        raise UserError("the cases are pictures, which have no planes to choose among; leave out --planes.")
    return list(planes), f"{listed(planes)} slices were asked for; one network learns all of them"


def choose_spacing_of_planes(
    cuts_in: CutsIn, unit: str, variant: str, given: Sequence[float] | None = None
) -> tuple[list[float], str]:
    """One plane: `choose_spacing`. Several: one number for all axes, from the plane with the smallest pixels.

    UserError where numbers are given that differ.
    """
    if len(cuts_in) == 1:
        return choose_spacing(*cuts_in.values(), unit, variant, given)
    if given is not None:
        if given[0] != given[1]:
            raise UserError(
                f"--spacing {given[0]:g} {given[1]:g} differs along rows and columns, which are other axes of the "
                "body in each of the planes; give the same number twice."
            )
        return list(given), f"{given[0]:g} {unit} along all axes were asked for"
    medians = _median_spacings(cuts_in)
    finest = min(medians, key=lambda plane: math.prod(medians[plane]))  # the first of equals
    side = math.sqrt(math.prod(medians[finest]))
    largest, shape = _largest(cuts_in, [side, side])
    spacing, reason = suited_spacing([side, side], shape, unit, variant)
    return spacing, (
        f"{finest} slices have the smallest pixels, {medians[finest][0]:.4g} x {medians[finest][1]:.4g} {unit}; one "
        f"spacing serves all axes, and {largest} slices are the largest: {reason}"
    )


def choose_patch_size_of_planes(
    cuts_in: CutsIn, spacing: Sequence[float], variant: str, given: Sequence[int] | None = None
) -> tuple[list[int], str]:
    """`choose_patch_size` for the plane whose median slice has most pixels at this spacing."""
    largest, _ = _largest(cuts_in, spacing)
    patch, reason = choose_patch_size(cuts_in[largest], spacing, variant, given)
    several = len(cuts_in) > 1 and given is None
    return patch, f"{largest} slices are the largest: {reason}" if several else reason


def choose_context_slices_of_planes(
    cuts_in: CutsIn, dimension: int, channels: int, given: int | None = None
) -> tuple[int, str]:
    """3 where `choose_context_slices` says so of every plane, else 1."""
    chosen = {plane: choose_context_slices(cuts, dimension, channels, given) for plane, cuts in cuts_in.items()}
    plane = min(chosen, key=lambda name: chosen[name][0])
    context, reason = chosen[plane]
    if len(cuts_in) == 1 or given is not None:
        return context, reason
    return context, f"of all planes, as of {plane}: {reason}" if context == 3 else f"{plane}: {reason}"


def stretched_planes(cuts_in: CutsIn) -> list[str]:
    """A sentence about planes whose pixels are so long that most of what a network sees of them is interpolated."""
    if len(cuts_in) == 1:
        return []
    ratios = {plane: max(spacing) / min(spacing) for plane, spacing in _median_spacings(cuts_in).items()}
    stretched = [plane for plane, ratio in ratios.items() if ratio > THICKEST_CONTEXT]
    if not stretched:
        return []
    return [
        f"pixels of {listed(stretched)} slices are up to {max(ratios.values()):.2g} times as long as they are wide, "
        "so that most of what the network sees there is interpolated; one plane alone (--plane finest) may do as well."
    ]


def _median_spacings(cuts_in: CutsIn) -> dict[str, list[float]]:
    return {plane: median_spacing(cuts) for plane, cuts in cuts_in.items()}


def _largest(cuts_in: CutsIn, spacing: Sequence[float]) -> tuple[str, tuple[float, float]]:
    """The plane with the largest median slice, the first of equals, and its (rows, columns) at this spacing."""
    shapes = {plane: median_shape(cuts, spacing) for plane, cuts in cuts_in.items()}
    areas = {plane: float(np.prod(shape)) for plane, shape in shapes.items()}
    largest = next(plane for plane, area in areas.items() if area >= max(areas.values()) * (1 - 1e-9))
    return largest, shapes[largest]


def listed(names: Sequence[str]) -> str:
    """"axial, coronal and sagittal"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
