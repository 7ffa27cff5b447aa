"""A picture of a cross-validation: the Dice of every case, structure by structure and fold by fold."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from DinoUNetCore.files import atomic_path
from DinoUNetCore.volume.labels import Label

DPI = 110
WIDTH, LINE = 12.0, 0.13  # inches: the page, a line of one fold
MARKERS = "osD^vP<>Xp"  # by fold
MOST_HEIGHT = 60.0  # inches
WORST = 3  # cases that are named


def draw_folds(path: Path, summary: Mapping[str, Any], labels: Sequence[Label], title: str) -> None:
    """Write a PNG: of each structure a box over all cases (quartiles, and a line from the 5th to the 95th percentile),
    and under it a line of dots for each fold.

    summary: as of `fold_summary.summarise_folds`. UserError if the file cannot be written. Needs matplotlib, of which
    no global state is touched.
    """
    from matplotlib.figure import Figure

    folds = [fold["fold"] for fold in summary["folds"]]
    lines = len(folds) + 3  # of a structure: the box takes two, and one stays free
    height = min(MOST_HEIGHT, 1.7 + LINE * lines * len(labels))
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    figure.suptitle(title, weight="bold", parse_math=False)
    dice_axis, distance_axis = figure.subplots(1, 2, sharey=True, width_ratios=[1.5, 1])
    tops = {label.name: position * lines for position, label in enumerate(labels)}
    for axis, measure in ((dice_axis, "dice"), (distance_axis, "hd95")):
        _draw_boxes(axis, summary, measure, labels, tops)
        _draw_dots(axis, summary, measure, labels, tops)
        axis.grid(axis="x", alpha=0.25)
    dice_axis.set(title="Dice of every case, by the network that had not seen it", xlabel="Dice")
    lowest = _lowest(summary)
    dice_axis.set_xlim(lowest, 1.005)
    dice_axis.set_xticks([tick for tick in dice_axis.get_xticks() if max(0, lowest) <= tick <= 1])
    distance_axis.set(title="HD95", xlabel=summary["unit"])
    distance_axis.set_xlim(left=0)
    dice_axis.set_yticks([position * lines + 0.5 for position in range(len(labels))], _names(labels), parse_math=False)
    dice_axis.set_ylim(len(labels) * lines - 1, -1.5)
    _name_worst(dice_axis, summary, labels, folds, lines)
    _draw_legend(figure, folds)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=DPI, format="png")


def _draw_boxes(
    axis, summary: Mapping[str, Any], measure: str, labels: Sequence[Label], tops: Mapping[str, float]
) -> None:
    """Of all structures at once: with a hundred of them, artists for each one take minutes."""
    values = {label.name: _values(summary, measure, label.name) for label in labels}
    shown = [label for label in labels if len(values[label.name])]
    if not shown:
        return
    low, first, middle, third, high = np.array(
        [np.percentile(values[label.name], (5, 25, 50, 75, 95)) for label in shown]
    ).T
    places = np.array([tops[label.name] + 0.25 for label in shown])
    axis.hlines(places, low, high, color="0.4", linewidth=1, zorder=1)
    ends = {"color": "0.4", "linestyle": "", "marker": "|", "markersize": 8, "zorder": 1}
    axis.plot(np.concatenate([low, high]), np.concatenate([places, places]), **ends)
    colors = [_blended(_color(label)) for label in shown]
    axis.barh(places, third - first, 1.1, first, color=colors, edgecolor="0.25", zorder=2)
    axis.vlines(middle, places - 0.55, places + 0.55, color="black", linewidth=1.8, zorder=3)


def _draw_dots(
    axis, summary: Mapping[str, Any], measure: str, labels: Sequence[Label], tops: Mapping[str, float]
) -> None:
    """The cases, of each fold all at once, and the folds' means."""
    for number, fold in enumerate(summary["folds"]):
        found = [(label, _values(summary, measure, label.name, fold["fold"])) for label in labels]
        found = [(label, values) for label, values in found if len(values)]
        if not found:
            continue
        places = np.array([tops[label.name] + 1.5 + number for label, _ in found])
        counts = [len(values) for _, values in found]
        colors = np.repeat([_color(label) for label, _ in found], counts, axis=0)
        style = {"s": 16, "marker": MARKERS[number % len(MARKERS)], "alpha": 0.75, "edgecolor": "0.3", "linewidth": 0.3}
        dots = np.concatenate([values for _, values in found])
        axis.scatter(dots, np.repeat(places, counts), color=colors, **style)
        means = [values.mean() for _, values in found]
        axis.vlines(means, places - 0.45, places + 0.45, color="black", linewidth=1.2)


def _draw_legend(figure, folds: Sequence[int]) -> None:
    from matplotlib.lines import Line2D

    style = {"linestyle": "", "markeredgecolor": "0.3", "markersize": 5}
    handles = [
        Line2D([], [], marker=MARKERS[number % len(MARKERS)], color="0.6", label=f"fold {fold}", **style)
        for number, fold in enumerate(folds)
    ]
    bar = Line2D([], [], marker="|", linestyle="", color="black", markersize=9, label="a fold's mean")
    figure.legend(handles=[*handles, bar], loc="outside lower center", ncols=min(8, len(folds) + 1), fontsize=8)


def _name_worst(axis, summary: Mapping[str, Any], labels: Sequence[Label], folds: Sequence[int], lines: int) -> None:
    """Write the names of the worst cases beside their dots, one on a line."""
    found = [
        (case["labels"][label.name]["dice"], position * lines + 1.5 + folds.index(case["fold"]), name)
        for name, case in summary["cases"].items()
        for position, label in enumerate(labels)
        if label.name in case["labels"] and case["labels"][label.name]["dice"] is not None
    ]
    worst: dict[float, tuple[float, str]] = {}  # by line
    for dice, line, name in sorted(found):
        if len(worst) < WORST:
            worst.setdefault(line, (dice, name))
    for line, (dice, name) in worst.items():
        axis.annotate(
            name,
            (dice, line),
            xytext=(-6, 0),
            textcoords="offset points",
            ha="right",
            va="center",
            fontsize=7,
            color="0.25",
            parse_math=False,
        )


def _values(summary: Mapping[str, Any], measure: str, name: str, fold: int | None = None) -> np.ndarray:
    """What was measured of a structure in a fold's cases; None: in all."""
    cases = (case for case in summary["cases"].values() if fold in (None, case["fold"]))
    found = (case["labels"].get(name) for case in cases)
    return np.array([result[measure] for result in found if result and result[measure] is not None], dtype=float)


def _lowest(summary: Mapping[str, Any]) -> float:
    """Where the axis of Dice begins: below the worst case, whose name has room beside it."""
    values = [result["dice"] for case in summary["cases"].values() for result in case["labels"].values()]
    least = min((value for value in values if value is not None), default=0.0)
    return least - 0.2 * (1 - least) - 0.01


def _blended(color: Sequence[float]) -> tuple[float, ...]:
    """Half of the colour on white, so that what lies under the box does not show."""
    return tuple(0.5 + 0.5 * part for part in color)


def _names(labels: Sequence[Label]) -> list[str]:
    return [label.name for label in labels]


def _color(label: Label) -> tuple[float, float, float]:
    return tuple(part / 255 for part in label.color)
