"""A picture of the Dice of every case: a mean alone hides the cases that failed."""

import io
from collections.abc import Mapping, Sequence

import numpy as np

from DinoUNetCore.volume.labels import Label

WIDTH, HEAD, ROW = 10.0, 1.3, 0.42  # inches: the picture, title and axis, a structure
DPI = 110
SPREAD = 0.28  # of a row, over which its dots are spread so that they hide each other less


def draw_dice(cases: Mapping[str, Mapping[str, Mapping]], labels: Sequence[Label], title: str) -> bytes | None:
    """A PNG: for each structure a row with a dot per case, a box over its quartiles and a line at its median; None
    where nothing was measured.

    cases: {case: result of `metrics.evaluate_case`}. The lowest case of each row is named.
    """
    from matplotlib.figure import Figure

    rows = []
    for label in labels:
        known = {case: found[label.name]["dice"] for case, found in cases.items() if label.name in found}
        rows.append((label, {case: dice for case, dice in known.items() if dice is not None}))
    rows = [(label, dice) for label, dice in rows if dice]
    if not rows:
        return None
    figure = Figure(figsize=(WIDTH, HEAD + ROW * len(rows)), layout="constrained")
    axis = figure.subplots()
    for place, (label, dice) in enumerate(rows):
        _draw_row(axis, place, label, dice)
    axis.set_yticks(range(len(rows)), [label.name for label, _ in rows], parse_math=False)
    axis.set_ylim(len(rows) - 0.5, -0.5)
    lowest = min(min(dice.values()) for _, dice in rows)
    axis.set_xlim(max(-0.02, np.floor(10 * lowest - 0.5) / 10), 1.005)
    axis.set_xlabel("Dice of each case (1 is perfect); box: the middle half, line: median")
    axis.grid(axis="x", alpha=0.3)
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.tick_params(left=False)
    axis.set_title(title, parse_math=False, weight="bold", fontsize=11, loc="left")
    written = io.BytesIO()
    figure.savefig(written, dpi=DPI, format="png")
    return written.getvalue()


def _draw_row(axis, place: int, label: Label, dice: Mapping[str, float]) -> None:
    values = np.array(list(dice.values()))
    color = [part / 255 for part in label.color]
    low, middle, high = np.percentile(values, (25, 50, 75))
    if len(values) > 3:
        axis.barh(place, high - low, left=low, height=0.62, color=color, alpha=0.25, linewidth=0)
    if len(values) > 1:
        axis.plot([middle, middle], [place - 0.33, place + 0.33], color="0.15", linewidth=1.5)
    # by rank, not at random: the same numbers give the same picture
    heights = place + SPREAD * (np.argsort(np.argsort(values)) % 5 / 2 - 1)
    axis.scatter(values, heights, s=18, color=[color], edgecolors="0.2", linewidths=0.5, zorder=3)
    if len(values) == 1:
        return
    worst = min(dice, key=lambda case: (dice[case], case))
    at = list(dice).index(worst)
    axis.annotate(
        worst, (values[at], heights[at]), xytext=(-5, 0), textcoords="offset points", ha="right", va="center",
        fontsize=7, color="0.35", parse_math=False, annotation_clip=True,
    )  # fmt: skip
