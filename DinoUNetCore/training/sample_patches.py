"""Patches to look at: a few cases, and places in them that show every class, chosen without chance."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from DinoUNetCore.dataset.fingerprint import Fingerprint
from DinoUNetCore.dataset.label_scheme import scheme_of
from DinoUNetCore.dataset.plan import Plan
from DinoUNetCore.dataset.preprocessing import PreparedCase
from DinoUNetCore.dataset.slices import patch_centre, patch_of


@dataclass(frozen=True)
class SamplePatch:
    """What the network gets at one place, without augmentation.

    centre: (row, column) in the prepared slice. image: (channels * context_slices, rows, columns). label: (rows,
    columns), as `LabelScheme.shown` says.
    """

    slice_index: int
    centre: tuple[int, int]
    image: np.ndarray
    label: np.ndarray


def plan_for_samples(plan: Plan, fingerprint: Fingerprint, count: int) -> Plan:
    """The plan with no more than `count` of its cases: such as show all classes, then others from all over the set.

    They are in the order in which they are worth a look.
    """
    cases = sorted(name for fold in plan.folds for name in fold)
    classes = {
        name: {label for label, voxels in fingerprint.cases[name].label_voxels.items() if voxels} for name in cases
    }
    # in an order that is spread over the whole set: first, last, middle, quarters, ...
    spread = list(dict.fromkeys(cases[round(part * (len(cases) - 1))] for part in _van_der_corput(4 * len(cases))))
    chosen: list[str] = []
    seen: set[str] = set()
    while len(chosen) < count:
        left = [name for name in spread if name not in chosen]
        if not left:
            break
        best = max(left, key=lambda name: len(classes[name] - seen))  # the first of equals
        chosen.append(best)
        seen |= classes[best]
    return replace(plan, folds=[chosen])


def choose_patches(case: PreparedCase, plan: Plan, count: int, shown: Counter) -> list[SamplePatch]:
    """Up to `count` different patches: each aims at the class that was shown least, and the slices follow each other.

    shown: how many patches aimed at each class so far; it is added to.
    """
    random = np.random.default_rng(0)
    present = [index for index, slices in case.slices_with.items() if index > 0 and slices]
    places = []
    for number in range(count):
        part = (number + 0.5) / count
        if present:
            aimed = min(present, key=lambda index: (shown[index], index))
            shown[aimed] += 1
            slices = case.slices_with[aimed]
            slice_index = slices[int(part * len(slices))]
            pixels = np.argwhere(case.labels()[slice_index] == aimed)
            aim = pixels[random.integers(len(pixels))]
        else:
            slice_index, aim = int(part * case.shape[0]), [side // 2 for side in case.shape[1:]]
        places.append((slice_index, tuple(patch_centre(aim, case.shape[1:], plan.patch_size))))
    return [_patch(case, plan, *place) for place in sorted(set(places))]


def _patch(case: PreparedCase, plan: Plan, slice_index: int, centre: tuple[int, int]) -> SamplePatch:
    image, label = patch_of(case, slice_index, centre, plan.patch_size, plan.context_slices)
    return SamplePatch(slice_index, centre, image, scheme_of(plan).shown[label[0]])


def _van_der_corput(count: int) -> Sequence[float]:
    """0, 1, then the fractions that halve, quarter, ... the way between them."""
    halving = [int(f"{number:b}"[::-1], 2) / 2 ** number.bit_length() for number in range(1, count)]
    return [0.0, 1.0, *halving]
