"""Folds for cross-validation: every case is validated on once, and a patient's cases stay together."""

from dataclasses import dataclass

import numpy as np

from DinoUNetCore.dataset.layout import Case

FOLDS = 5


@dataclass(frozen=True)
class Folds:
    """`validation[f]` names the cases that fold f validates on; `reason` and `warning` say how they were made."""

    validation: list[list[str]]
    reason: str
    warning: str | None = None


def make_folds(cases: list[Case], seed: int) -> Folds:
    """Share the cases out to five folds, group by group, so that the folds hold about as many cases each.

    With fewer than five groups there are as many folds as groups. One group of several cases is shared out by case, and
    a single case is trained and validated on; both with a warning. The same cases and seed give the same folds.
    """
    if len(cases) == 1:
        name = cases[0].name
        return Folds(
            [[name]],
            "there is one case only, so it is both trained and validated on",
            f"the only case, {name}, is trained AND validated on, so the accuracy says nothing about other images",
        )
    groups: dict[str, list[str]] = {}
    for case in cases:
        groups.setdefault(case.group, []).append(case.name)
    warning = None
    if len(groups) == 1:
        warning = (
            f"all {len(cases)} cases belong to one group ({cases[0].group}): they are split by case, so the measured "
            "accuracy says little about other groups"
        )
        groups = {case.name: [case.name] for case in cases}

    count = min(FOLDS, len(groups))
    folds: list[list[str]] = [[] for _ in range(count)]
    # RandomState's stream is frozen for all versions of NumPy
    shuffled = [sorted(groups)[index] for index in np.random.RandomState(seed).permutation(len(groups))]
    # the largest first, so that the small ones even out
    for group in sorted(shuffled, key=lambda group: -len(groups[group])):
        min(folds, key=len).extend(groups[group])
    folds = [sorted(fold) for fold in folds]
    sizes = sorted({len(fold) for fold in folds})
    together = f" in {len(groups)} groups that stay together" if len(groups) < len(cases) else ""
    reason = (
        f"{len(cases)} cases{together} are shared out, shuffled with seed {seed}, to {count} folds of "
        f"{' or '.join(map(str, sizes))} validation case(s)"
    )
    return Folds(folds, reason, warning)
