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
    _draw_rows(axis, rows)
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


def _draw_rows(axis, rows: Sequence[tuple[Label, Mapping[str, float]]]) -> None:
    """All rows at once but for the names: with a hundred structures, artists for each one take long."""
    values = [np.array(list(dice.values())) for _, dice in rows]
    colors = np.array([label.color for label, _ in rows]) / 255
    low, middle, high = np.array([np.percentile(row, (25, 50, 75)) for row in values]).T
    counts = np.array([len(row) for row in values])
    places = np.arange(len(rows))
    boxes, several = counts > 3, counts > 1
    axis.barh(
        places[boxes], (high - low)[boxes], left=low[boxes], height=0.62, color=colors[boxes], alpha=0.25, linewidth=0
    )
    axis.vlines(middle[several], places[several] - 0.33, places[several] + 0.33, color="0.15", linewidth=1.5)
    # by rank, not at random: the same numbers give the same picture
    heights = [place + SPREAD * (np.argsort(np.argsort(row)) % 5 / 2 - 1) for place, row in enumerate(values)]
    dots = {"color": np.repeat(colors, counts, axis=0), "edgecolors": "0.2", "linewidths": 0.5}
    axis.scatter(np.concatenate(values), np.concatenate(heights), s=18, zorder=3, **dots)
    for (_, dice), heights_of_row in zip(rows, heights, strict=True):
        if len(dice) > 1:
            _name_worst(axis, dice, heights_of_row)


def _name_worst(axis, dice: Mapping[str, float], heights: np.ndarray) -> None:
    worst = min(dice, key=lambda case: (dice[case], case))
    at = list(dice).index(worst)
    named = axis.annotate(
        worst, (dice[worst], heights[at]), xytext=(-5, 0), textcoords="offset points", ha="right", va="center",
        fontsize=7, color="0.35", parse_math=False, annotation_clip=True,
    )  # fmt: skip
    named.set_in_layout(False)  # it lies inside, and is measured in vain
