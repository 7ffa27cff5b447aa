"""A dark page of images in a grid, with the outlines of their labels, frames, captions and a legend."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from DinoUNetCore.files import atomic_path
from DinoUNetCore.overlay import DPI, FAINT, GROUND, TEXT
from DinoUNetCore.volume.labels import Label

COLUMNS, MOST_ROWS = 4, 5
PANEL = 2.6  # inches: the longer side of a cell
MARGIN, GAP, HEAD, HEADING, CAPTION, LINE = 0.25, 0.12, 0.62, 0.34, 0.26, 0.24  # inches
LETTER = (0.1, 0.06)  # inches: height and width of a letter of a name in a panel
NARROWEST = 7.0  # inches, so that the head has room
FRAME = "#ffd34d"  # colour of numbered frames
INNER = 0.8  # level of outlines: a little inside the class, so that neighbours do not hide each other's
CONTRAST = (0.5, 99.5)  # percentiles of a block's panels that become black and white


@dataclass(frozen=True)
class Frame:
    """A rectangle in pixels: with a number, or dotted without one."""

    top: float
    left: float
    height: int
    width: int
    number: str = ""


@dataclass(frozen=True)
class Panel:
    """image: (rows, columns), or (rows, columns, 3) for colours. label: class indices (rows, columns)."""

    caption: str
    image: np.ndarray
    label: np.ndarray
    frames: Sequence[Frame] = ()


@dataclass(frozen=True)
class Block:
    """Up to COLUMNS panels side by side under one name. aspect: height by width of their pixels.

    first_letters: what lies at the top and at the left, such as A and R.
    """

    name: str
    panels: Sequence[Panel]
    aspect: float
    first_letters: tuple[str, str] = ("", "")


def draw_page(
    path: Path, title: str, facts: str, blocks: Sequence[Block], cell: tuple[float, float], labels: Sequence[Label]
) -> None:
    """Write a PNG with as many of the blocks as MOST_ROWS rows hold. UserError if it cannot be written.

    cell: height and width of a panel's place, in any unit; images keep their shape in it. labels: of the class indices
    1, 2, ... Needs matplotlib, of which no global state is touched.
    """
    rows = _packed(blocks)
    indices = {int(i) for row in rows for block in row for panel in block.panels for i in np.unique(panel.label)}
    page = _Page(rows, cell, labels, indices)
    page.draw_head(title, facts)
    for row in rows:
        page.draw_row(row)
    page.draw_legend()
    with atomic_path(path) as temporary:
        page.figure.savefig(temporary, dpi=DPI, format="png", facecolor=GROUND)


def _packed(blocks: Sequence[Block]) -> list[list[Block]]:
    """Each block, as they are given, in the first row that has room for it; rows in the order of the names."""
    rows: list[list[Block]] = []
    for block in blocks:
        for row in rows:
            if sum(len(other.panels) for other in row) + len(block.panels) <= COLUMNS:
                row.append(block)
                break
        else:
            if len(rows) < MOST_ROWS:
                rows.append([block])
    return sorted((sorted(row, key=lambda block: block.name) for row in rows), key=lambda row: row[0].name)


class _Page:
    """Rows are drawn from the top to the bottom; y says how far it is filled. All lengths are inches."""

    def __init__(
        self, rows: Sequence[Sequence[Block]], cell: tuple[float, float], labels: Sequence[Label], indices: set[int]
    ):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self.labels = {index: label for index, label in enumerate(labels, 1) if index in indices}
        self.missing = [label.name for index, label in enumerate(labels, 1) if index not in indices]
        self.cell_height, self.cell_width = (PANEL * side / max(cell) for side in cell)
        columns = max(sum(len(block.panels) for block in row) for row in rows)
        self.width = max(2 * MARGIN + columns * (self.cell_width + GAP) - GAP, NARROWEST)
        longest = max((len(label.name) for label in self.labels.values()), default=1)
        self.per_line = max(1, int((self.width - 2 * MARGIN) / (0.5 + 0.085 * longest)))
        legend = (-(-len(self.labels) // self.per_line) + bool(self.missing) + 0.5) * LINE
        self.height = 2 * MARGIN + HEAD + len(rows) * (HEADING + self.cell_height + CAPTION) + legend
        self.figure = Figure(figsize=(self.width, self.height), facecolor=GROUND)
        FigureCanvasAgg(self.figure)
        self.y = MARGIN

    def write(self, x: float, y: float, text: str, **style: Any) -> None:
        """Text at (x, y) from the left and the top."""
        style = {"color": TEXT, "fontsize": 9, "va": "center"} | style
        self.figure.text(x / self.width, 1 - y / self.height, text, parse_math=False, **style)

    def draw_head(self, title: str, facts: str) -> None:
        self.write(MARGIN, self.y + 0.5 * LINE, title, fontsize=13, weight="bold")
        self.write(MARGIN, self.y + 1.7 * LINE, facts, color=FAINT)
        self.y += HEAD

    def draw_row(self, blocks: Sequence[Block]) -> None:
        x = MARGIN
        for block in blocks:
            width = len(block.panels) * (self.cell_width + GAP) - GAP
            self._draw_block(block, x, width)
            x += width + GAP
        self.y += HEADING + self.cell_height + CAPTION

    def _draw_block(self, block: Block, x: float, width: float) -> None:
        low, high = np.percentile(np.concatenate([panel.image.ravel() for panel in block.panels]), CONTRAST)
        middle = self.y + 0.6 * HEADING
        self.write(x, middle, block.name, weight="bold", fontsize=10)
        self.write(x + width, middle, f"black {low:.2g}, white {high:.2g}", color=FAINT, fontsize=8, ha="right")
        largest = _largest(block.panels) if len(self.labels) > 1 else {}
        for place, panel in enumerate(block.panels):
            left = x + place * (self.cell_width + GAP)
            axes = self._axes(left, self.y + HEADING)
            _show(axes, (panel.image - low) / (high - low or 1), block.aspect)
            self._outline(axes, panel.label, [index for index, where in largest.items() if where == place])
            for frame in panel.frames:
                _draw_frame(axes, frame)
            top, at_left = block.first_letters
            style = {"transform": axes.transAxes, "color": TEXT, "fontsize": 8}
            axes.text(0.5, 0.985, top, ha="center", va="top", **style)
            axes.text(0.015, 0.5, at_left, ha="left", va="center", **style)
            below = self.y + HEADING + self.cell_height + 0.5 * CAPTION
            self.write(left + self.cell_width / 2, below, panel.caption, color=FAINT, ha="center")

    def _axes(self, left: float, top: float):
        box = (left, self.height - top - self.cell_height, self.cell_width, self.cell_height)
        axes = self.figure.add_axes([length / (self.width, self.height)[i % 2] for i, length in enumerate(box)])
        axes.set_axis_off()
        return axes

    def _outline(self, axes, classes: np.ndarray, named: Sequence[int]) -> None:
        """The outlines of all classes, and the names of those that are `named` here, where they fit."""
        from matplotlib.patheffects import withStroke

        pixels = np.bincount(classes.ravel(), minlength=max(self.labels, default=0) + 1)
        for index in sorted(self.labels, key=lambda index: -pixels[index]):  # the small ones last, on top
            label, inside = self.labels[index], classes == index
            if 0 < pixels[index] < classes.size:
                axes.contour(inside.astype(float), (INNER,), colors=[_color(label)], linewidths=1.0)
            if index in named and self._has_room(inside, label.name):
                row, column = _a_middle(inside)
                axes.text(
                    column, row, label.name, color=TEXT, fontsize=7, ha="center", va="center", clip_on=True,
                    parse_math=False, path_effects=[withStroke(linewidth=1.5, foreground=GROUND)],
                )  # fmt: skip

    def _has_room(self, inside: np.ndarray, name: str) -> bool:
        """Whether a name is not much larger than the area that it is written on."""
        rows, columns = (np.ptp(places) + 1 for places in np.nonzero(inside))
        height, width = self.cell_height * rows / inside.shape[0], self.cell_width * columns / inside.shape[1]
        return height >= LETTER[0] and 1.4 * width >= LETTER[1] * len(name)

    def draw_legend(self) -> None:
        from matplotlib.lines import Line2D

        if self.missing:
            names = ", ".join(self.missing[:8]) + (", ..." if len(self.missing) > 8 else "")
            self.write(MARGIN, self.height - MARGIN, f"not in these patches: {names}", color=FAINT)
        legend = self.figure.legend(
            handles=[Line2D([], [], color=_color(label), linewidth=2.5) for label in self.labels.values()],
            labels=[label.name for label in self.labels.values()],
            loc="lower center",
            bbox_to_anchor=(0.5, (MARGIN - 0.06 + LINE * bool(self.missing)) / self.height),
            ncols=min(self.per_line, max(1, len(self.labels))),
            frameon=False,
            labelcolor=TEXT,
            fontsize=9,
            handlelength=1.2,
            handletextpad=0.5,
            columnspacing=1.4,
            borderaxespad=0,
            borderpad=0,
        )
        for text in legend.get_texts():
            text.set_parse_math(False)


def _show(axes, image: np.ndarray, aspect: float) -> None:
    rows, columns = image.shape[:2]
    axes.imshow(np.clip(image, 0, 1), cmap="gray", vmin=0, vmax=1, aspect=aspect)
    axes.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5))


def _draw_frame(axes, frame: Frame) -> None:
    from matplotlib.patches import Rectangle

    style = {"color": FRAME, "linewidth": 1.0} if frame.number else {"color": FAINT, "linewidth": 0.8, "linestyle": ":"}
    corner = (frame.left - 0.5, frame.top - 0.5)
    axes.add_patch(Rectangle(corner, frame.width, frame.height, fill=False, **style))
    axes.text(*corner, f" {frame.number}", color=FRAME, fontsize=8, va="top", clip_on=True)


def _largest(panels: Sequence[Panel]) -> dict[int, int]:
    """{class index: the panel in which it fills most pixels}."""
    areas: dict[int, list[int]] = {}
    for place, panel in enumerate(panels):
        for index, pixels in zip(*np.unique(panel.label, return_counts=True), strict=True):
            areas.setdefault(int(index), [0] * len(panels))[place] = int(pixels)
    return {index: int(np.argmax(pixels)) for index, pixels in areas.items()}


def _a_middle(inside: np.ndarray) -> tuple[int, int]:
    """The pixel (row, column) of the area that is nearest to its centre of mass."""
    pixels = np.argwhere(inside)
    return tuple(pixels[np.square(pixels - pixels.mean(axis=0)).sum(axis=1).argmin()])


def _color(label: Label) -> tuple[float, float, float]:
    return tuple(part / 255 for part in label.color)
