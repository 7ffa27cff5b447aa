"""A picture of patches as the network will see them: resampled, normalised, cut, and with their labels outlined."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from DinoUNetCore.dataset.fingerprint import Fingerprint
from DinoUNetCore.dataset.label_scheme import scheme_of
from DinoUNetCore.dataset.plan import Plan
from DinoUNetCore.dataset.planning_of_planes import listed
from DinoUNetCore.dataset.preprocessing import PreparedCase
from DinoUNetCore.training.panels_page import COLUMNS, Block, Frame, Panel, draw_page
from DinoUNetCore.training.sample_patches import SamplePatch, choose_patches
from DinoUNetCore.volume.geometry import ANTERIOR_POSTERIOR, LEFT_RIGHT, SUPERIOR_INFERIOR, Slicing

CLEARLY_SMALLER = 0.7  # a patch with less than this part of its slice: the whole slice is shown, too
# What lies at the top of rows, and at the left of columns, that follow an axis in canonical slices.
FIRST = {LEFT_RIGHT: "R", ANTERIOR_POSTERIOR: "A", SUPERIOR_INFERIOR: "S", "": ""}


def draw_samples(path: Path, plan: Plan, fingerprint: Fingerprint, cases: Sequence[PreparedCase]) -> None:
    """Write a PNG of patches of `cases`, as many as fit on a page, each class shown about equally often.

    Of a case that is cut in several planes, each is a case here. Where patches are clearly smaller than the slices, the
    slice of the first patch is shown with their places. Cases with several channels that are no colours show each
    channel of one patch.
    """
    shown: Counter = Counter()
    blocks = [
        Block(_title(case, plan), _panels(case, plan, shown), case.aspect, _first_letters(plan, fingerprint, case))
        for case in cases
    ]
    cell = tuple(side * spacing for side, spacing in zip(plan.patch_size, plan.spacing, strict=True))
    title = f"{plan.dataset} as the network will see it"
    draw_page(path, title, _facts(plan), blocks, cell, scheme_of(plan).described)


def _title(case: PreparedCase, plan: Plan) -> str:
    return case.name if len(plan.planes) == 1 else f"{case.name}, {case.plane}"


def _facts(plan: Plan) -> str:
    unit = {"mm": "mm", "pixel": "stored pixels"}[plan.unit]
    rows, columns = plan.patch_size
    facts = [
        f"patches of {rows} x {columns} pixels of {plan.spacing[0]:.3g} x {plan.spacing[1]:.3g} {unit}",
        *([f"{listed(plan.planes)} slices"] if plan.dimension == 3 else []),
        *(["each with its two neighbours"] if plan.context_slices == 3 else []),
        f"normalized by {', '.join(dict.fromkeys(channel.scheme for channel in plan.normalization))}",
        "not augmented",
    ]
    return ", ".join(facts)


def _panels(case: PreparedCase, plan: Plan, shown: Counter) -> list[Panel]:
    colours = all(channel.scheme == "rgb" for channel in plan.normalization)
    if len(plan.channel_names) > 1 and not colours:
        (patch,) = choose_patches(case, plan, 1, shown)
        edge = _edge(case, plan, patch)
        return [
            Panel(f"{name}, {_slice(case, patch)}", patch.image[number], patch.label, edge)
            for number, name in enumerate(plan.channel_names[:COLUMNS])
        ]
    smaller = np.prod([min(n, side) / side for n, side in zip(plan.patch_size, case.shape[1:], strict=True)])
    whole_too = smaller < CLEARLY_SMALLER
    panels, patches = [], choose_patches(case, plan, COLUMNS - whole_too, shown)
    for number, patch in enumerate(patches, 1):
        pixels = patch.image.transpose(1, 2, 0) if colours else patch.image[plan.context_slices // 2]
        caption = f"{number}: {_slice(case, patch)}" if whole_too else _slice(case, patch)
        panels.append(Panel(caption, pixels, patch.label, _edge(case, plan, patch)))
    return [_whole_slice(case, plan, patches, colours), *panels] if whole_too else panels


def _whole_slice(case: PreparedCase, plan: Plan, patches: Sequence[SamplePatch], colours: bool) -> Panel:
    """The slice of the first patch, with the frames of all patches that were cut from it."""
    index = patches[0].slice_index
    frames = [
        Frame(*(c - n // 2 for c, n in zip(patch.centre, plan.patch_size, strict=True)), *plan.patch_size, str(number))
        for number, patch in enumerate(patches, 1)
        if patch.slice_index == index
    ]
    image = case.images()[index].astype(np.float32)
    caption = "whole picture" if plan.dimension == 2 else f"whole {_slice(case, patches[0])}"
    label = scheme_of(plan).shown[case.labels()[index]]
    return Panel(caption, image.transpose(1, 2, 0) if colours else image[0], label, frames)


def _edge(case: PreparedCase, plan: Plan, patch: SamplePatch) -> list[Frame]:
    """The outline of the slice, where the patch reaches beyond it."""
    sides = case.shape[1:]
    if all(side >= n for side, n in zip(sides, plan.patch_size, strict=True)):
        return []
    return [Frame(*(n // 2 - c for c, n in zip(patch.centre, plan.patch_size, strict=True)), *sides)]


def _slice(case: PreparedCase, patch: SamplePatch) -> str:
    return "patch" if case.shape[0] == 1 else f"slice {patch.slice_index + 1} of {case.shape[0]}"


def _first_letters(plan: Plan, fingerprint: Fingerprint, case: PreparedCase) -> tuple[str, str]:
    """What lies at the top and at the left of the case's slices; empty for pictures."""
    slicing = Slicing.of(fingerprint.cases[case.name].grid, case.plane, plan.unit)
    return FIRST[slicing.row_axis], FIRST[slicing.column_axis]
