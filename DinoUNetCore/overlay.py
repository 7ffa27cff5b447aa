"""Pictures of label maps over their images: one row per slice, image | reference | prediction, on a dark ground."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from DinoUNetCore.files import atomic_path
from DinoUNetCore.volume.labels import Label

DPI = 130
WIDTHS = {1: 4.6, 2: 3.8, 3: 3.3}  # of a panel in inches, by the number of columns
TALLEST = 1.25  # of a panel, as a multiple of its width
MARGIN, GAP, HEADING, LINE = 0.22, 0.1, 0.3, 0.24  # inches; LINE: one line of text
GROUND, TEXT, FAINT = "#15181c", "#f2f2f2", "#9aa3ad"


@dataclass(frozen=True)
class OverlayRow:
    """One slice to show.

    image: (H, W), or (H, W, 3) for colours. reference, prediction: label values (H, W), or None to leave them out.
    aspect: row spacing / column spacing, so that bodies keep their shape. window: the intensities shown as black and
    white; by default the 1st and 99th percentile of the image.
    """

    title: str
    image: np.ndarray
    reference: np.ndarray | None = None
    prediction: np.ndarray | None = None
    aspect: float = 1.0
    window: tuple[float, float] | None = None

    def __post_init__(self):
        shape = np.shape(self.image)
        if len(shape) not in (2, 3) or shape[2:] not in ((), (3,)) or 0 in shape:
            raise ValueError(f"an image to show is (H, W) or (H, W, 3), not {shape}")
        for labels in (self.reference, self.prediction):
            if labels is not None and np.shape(labels) != shape[:2]:
                raise ValueError(f"a label map of {np.shape(labels)} does not fit an image of {shape[:2]}")
        if not 0 < self.aspect < np.inf:
            raise ValueError(f"an aspect is a number above 0, not {self.aspect}")


def save_overlay(path: str | os.PathLike, rows: Sequence[OverlayRow], labels: Sequence[Label], title: str = "") -> None:
    """Draw `rows` into a PNG file, written atomically; UserError if it cannot be written.

    Columns that no row fills are left out. The legend names the labels that occur; values that `labels` does not name
    are drawn in white. Needs matplotlib, of which no global state is touched.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not rows:
        raise ValueError("an overlay needs at least one row")
    columns = [
        (name, [getattr(row, name) for row in rows])
        for name in ("reference", "prediction")
        if any(getattr(row, name) is not None for row in rows)
    ]
    maps = [values for _, column in columns for values in column if values is not None]
    shown = _occurring(maps, labels)

    width = WIDTHS[1 + len(columns)]
    ratios = [row.image.shape[0] * row.aspect / row.image.shape[1] for row in rows]
    heights = [width * min(max(ratio, 0.1), TALLEST) for ratio in ratios]
    total_width = 2 * MARGIN + (1 + len(columns)) * (width + GAP) - GAP
    legend_lines, per_line = _legend_shape(shown, total_width)
    top = MARGIN + (1.4 * LINE if title else 0) + (LINE if columns else 0)
    bottom = MARGIN + (GAP + legend_lines * LINE if shown else 0)
    total_height = top + sum(heights) + len(rows) * HEADING + bottom

    figure = Figure(figsize=(total_width, total_height), facecolor=GROUND)
    FigureCanvasAgg(figure)

    def write(x: float, y: float, text: str, **style: Any) -> None:
        """Text at (x, y) inches from the left and the top."""
        style = {"color": TEXT, "fontsize": 9, "va": "center"} | style
        figure.text(x / total_width, 1 - y / total_height, text, parse_math=False, **style)

    if title:
        write(MARGIN, MARGIN + 0.5 * LINE, title, fontsize=12, weight="bold")
    for place, name in enumerate(["image", *(name for name, _ in columns)] if columns else []):
        write(MARGIN + place * (width + GAP) + width / 2, top - LINE / 2, name, ha="center", color=FAINT)
    y = top
    for index, (row, height) in enumerate(zip(rows, heights, strict=True)):
        write(MARGIN, y + 0.6 * HEADING, row.title)
        y += HEADING
        panels = [np.zeros(row.image.shape[:2], int), *(column[index] for _, column in columns)]
        for place, values in enumerate(panels):
            left = MARGIN + place * (width + GAP)
            box = (left / total_width, 1 - (y + height) / total_height, width / total_width, height / total_height)
            if values is not None:
                _draw_panel(figure, box, row, np.asarray(values), shown, width * DPI)
        y += height
    if shown:
        _draw_legend(figure, shown, per_line, (MARGIN - 0.06) / total_height)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=DPI, format="png", facecolor=GROUND)


def _draw_panel(figure, box, row: OverlayRow, values: np.ndarray, labels: Sequence[Label], pixels: float) -> None:
    """The image in grey or colour, with a half transparent area and a thin outline for each label."""
    rows, columns = row.image.shape[:2]
    axes = figure.add_axes(box)
    axes.set_axis_off()
    axes.imshow(
        _windowed(row),
        cmap="gray",
        vmin=0,
        vmax=1,
        aspect=row.aspect,
        interpolation="bilinear" if columns < pixels else "hanning",
        extent=(-0.5, columns - 0.5, rows - 0.5, -0.5),
    )
    for label in labels:
        inside = values == label.value
        if not inside.any():
            continue
        (top, bottom), (left, right) = (
            (int(places.min()), int(places.max()) + 1) for places in np.nonzero(inside)
        )
        # a frame of background closes the outlines of what touches the picture's edge
        area = np.pad(inside[top:bottom, left:right], 1).astype(float)
        x, y = np.arange(left - 1, right + 1), np.arange(top - 1, bottom + 1)
        color = _color(label)
        axes.contourf(x, y, area, levels=(0.5, 1.5), colors=[(*color, 0.46)])
        axes.contour(x, y, area, levels=(0.5,), colors=[color], linewidths=0.9)
    axes.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5))


def _windowed(row: OverlayRow) -> np.ndarray:
    """The image from 0 (black) to 1 (white), float32. NaN and infinities become black and white."""
    image = np.asarray(row.image, np.float32)
    if row.window is not None:
        low, high = row.window
    else:
        finite = image[np.isfinite(image)]
        low, high = np.percentile(finite, (1, 99)) if finite.size else (0, 1)
        if low == high:  # a few bright pixels on a plain ground
            low, high = finite.min(initial=low), finite.max(initial=high)
    scaled = (image - low) / (high - low if high > low else 1)
    return np.clip(np.nan_to_num(scaled, nan=0, posinf=1, neginf=0), 0, 1)


def _occurring(maps: Sequence[np.ndarray], labels: Sequence[Label]) -> list[Label]:
    """The labels whose values occur in `maps`, in their order, then a white one for each unknown value."""
    values = {int(value) for array in maps for value in np.unique(array)} - {0}
    known = {label.value for label in labels}
    unknown = [Label(f"value {value}", value, (255, 255, 255)) for value in sorted(values - known)]
    return [label for label in labels if label.value in values] + unknown


def _legend_shape(labels: Sequence[Label], width: float) -> tuple[int, int]:
    """(lines, entries per line) of a legend that fits into `width` inches."""
    longest = max((len(label.name) for label in labels), default=1)
    per_line = max(1, min(len(labels), int((width - 2 * MARGIN) / (0.42 + 0.075 * longest))))
    lines = -(-len(labels) // per_line)
    return lines, -(-len(labels) // lines) if lines else 1


def _draw_legend(figure, labels: Sequence[Label], per_line: int, bottom: float) -> None:
    from matplotlib.patches import Patch

    figure.legend(
        handles=[Patch(facecolor=(*_color(label), 0.6), edgecolor=_color(label)) for label in labels],
        labels=[label.name for label in labels],
        loc="lower center",
        bbox_to_anchor=(0.5, bottom),
        ncols=per_line,
        frameon=False,
        labelcolor=TEXT,
        fontsize=9,
        handlelength=1.2,
        handleheight=0.9,
        handletextpad=0.5,
        columnspacing=1.4,
        labelspacing=0.5,
        borderaxespad=0,
        borderpad=0,
    )


def _color(label: Label) -> tuple[float, float, float]:
    return tuple(part / 255 for part in label.color)
