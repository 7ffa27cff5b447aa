"""A plan as text for a terminal: every choice with its reason, the classes, the folds."""

import math
import textwrap
from collections.abc import Sequence

from DinoUNetCore.dataset.fingerprint import Fingerprint
from DinoUNetCore.dataset.plan import Plan
from DinoUNetCore.volume.intensity import ChannelNormalization

NARROWEST_REASON = 30  # columns of text


def plan_table(plan: Plan, width: int) -> str:
    """The plan's choices with their reasons, in lines of at most `width` characters."""
    return _table(("choice", "value", "reason"), plan_rows(plan), width)


def plan_rows(plan: Plan) -> list[tuple[str, str, str]]:
    """(choice, value, reason) of each of the plan's choices, as text."""
    unit = {"mm": "mm", "pixel": "pixels"}[plan.unit]
    rows = [
        ("images", "pictures" if plan.dimension == 2 else "volumes", "dimension"),
        ("unit of lengths", plan.unit, "unit"),
        ("plane" if len(plan.planes) == 1 else "planes", _planes(plan), "planes"),
        ("spacing", f"{_by(plan.spacing)} {unit}", "spacing"),
        ("patch", f"{_by(plan.patch_size)} pixels", "patch_size"),
        ("batch", f"{plan.batch_size} patches", "batch_size"),
        ("slices seen at once", str(plan.context_slices), "context_slices"),
        ("normalization", ", ".join(map(_scheme, plan.normalization)), "normalization"),
        ("mirrored", " and ".join(plan.mirror) or "nothing", "mirror"),
        ("intensities", ", ".join(map(_range, plan.intensity_range)), "intensity_range"),
        ("spacings in the set", ", ".join(map(_range, plan.spacing_range)), "spacing_range"),
        ("folds", str(len(plan.folds)), "folds"),
    ]
    return [(title, value, plan.reasons.get(field, "")) for title, value, field in rows]


def class_table(plan: Plan, fingerprint: Fingerprint) -> str:
    """How often each class occurs, and how much of the images it takes."""
    cases = list(fingerprint.cases.values())
    voxels = sum(math.prod(case.size) for case in cases)
    rows = []
    for name, value in plan.labels.items():
        count = sum(case.label_voxels[name] > 0 for case in cases)
        share = 100 * fingerprint.label_voxels[name] / voxels
        rows.append((name, str(value), f"{count} of {len(cases)}", f"{share:.2g} %"))
    return _table(("class", "value", "cases", "of all voxels"), rows, 10_000)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> str:
    """Columns two blanks apart; the last one is wrapped to fit into `width`."""
    columns = list(zip(head, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns[:-1]]
    indent = sum(widths) + 2 * len(widths)
    wrapper = textwrap.TextWrapper(max(NARROWEST_REASON, width - indent), break_on_hyphens=False)
    lines = []
    for row in (head, ["-" * len(title) for title in head], *rows):
        first, *others = wrapper.wrap(row[-1]) or [""]
        cells = (f"{cell:<{size}}  " for cell, size in zip(row, widths, strict=False))
        lines += ["".join(cells) + first, *(" " * indent + other for other in others)]
    return "\n".join(line.rstrip() for line in lines)


def _planes(plan: Plan) -> str:
    return ", ".join(plan.planes) if plan.dimension == 3 else "-"


def _scheme(channel: ChannelNormalization) -> str:
    return channel.scheme if channel.scheme != "ct" else f"ct {_range((channel.low, channel.high))}"


def _range(values: Sequence[float]) -> str:
    low, high = (f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}" for value in values)
    return low if low == high else f"{low} to {high}"


def _by(numbers: Sequence[float]) -> str:
    return " x ".join(f"{number:.4g}" for number in numbers)
