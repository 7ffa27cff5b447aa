"""A picture of a data set's fingerprint: intensities, sizes, spacings, and how large the classes are."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from DinoUNetCore.dataset.fingerprint import ChannelFingerprint, Fingerprint
from DinoUNetCore.dataset.plan import Plan
from DinoUNetCore.dataset.planning import Cut, cut_cases
from DinoUNetCore.files import atomic_path
from DinoUNetCore.volume.geometry import AXES
from DinoUNetCore.volume.intensity import ChannelNormalization
from DinoUNetCore.volume.labels import default_labels

DPI = 110
WIDTH, ROW, CLASS = 12.0, 3.3, 0.24  # inches: the page, a row of charts, a line of the chart of classes
ACROSS = 3  # histograms in a row
ALL, LABELLED, PLANNED = "0.7", "#1f5fa8", "#c8382d"  # colours
WIDE = 8  # the largest by the smallest: beyond, the scale is logarithmic


def draw_fingerprint(path: Path, plan: Plan, fingerprint: Fingerprint) -> None:
    """Write a PNG. UserError if it cannot be written. Needs matplotlib, of which no global state is touched."""
    from matplotlib.figure import Figure

    channels = len(fingerprint.channels)
    across = min(channels, ACROSS)
    rows = -(-channels // across)
    lower = max(ROW, CLASS * len(plan.labels) + 0.8)
    figure = Figure(figsize=(WIDTH, rows * ROW + lower + 0.4), layout="constrained")
    figure.suptitle(f"{fingerprint.dataset}: {len(fingerprint.cases)} case(s)", weight="bold", parse_math=False)
    upper_part, lower_part = figure.subfigures(2, 1, height_ratios=[rows * ROW, lower])
    for axis, name, channel, normalization in zip(
        upper_part.subplots(rows, across, squeeze=False).flat,  # the last row may have fewer
        plan.channel_names,
        fingerprint.channels,
        plan.normalization,
        strict=False,
    ):
        _draw_intensities(axis, name, channel, normalization)
    for axis in upper_part.axes[channels:]:
        axis.set_axis_off()

    cuts = cut_cases([case.grid for case in fingerprint.cases.values()], plan.plane, plan.unit)
    between, rows, columns = _axis_names(plan, cuts[0])
    sizes = {rows: [cut.shape[0] for cut in cuts], columns: [cut.shape[1] for cut in cuts]}
    spacings = {rows: [cut.spacing[1] for cut in cuts], columns: [cut.spacing[2] for cut in cuts]}
    planned = dict(zip((rows, columns), plan.spacing, strict=True))
    if plan.dimension == 3:
        sizes = {between: [cut.slices for cut in cuts], **sizes}
        spacings = {between: [cut.spacing[0] for cut in cuts], **spacings}
    if len(plan.planes) > 1:  # one spacing for all axes
        planned = {between: plan.spacing[0], **planned}
    axes = lower_part.subplots(1, 3, width_ratios=[1, 1, 1.6]) if plan.unit == "mm" else lower_part.subplots(1, 2)
    _draw_sizes(axes[0], sizes)
    if plan.unit == "mm":
        _draw_spacings(axes[1], spacings, planned)
    _draw_classes(axes[-1], plan, fingerprint)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=DPI, format="png")


def _axis_names(plan: Plan, cut: Cut) -> list[str]:
    """Of slices, rows and columns; where several planes make an axis now this and now that, as they lie in the body."""
    if len(plan.planes) == 1:
        return ["slices", "rows", "columns"]
    across = next(axis for axis in AXES if axis not in (cut.row_axis, cut.column_axis))
    return [axis.replace("-", "-\n") for axis in (across, cut.row_axis, cut.column_axis)]


def _draw_intensities(axis, name: str, channel: ChannelFingerprint, normalization: ChannelNormalization) -> None:
    edges = np.array(channel.histogram_edges)
    for counts, label, style in (
        (channel.image_histogram, "all voxels", {"fill": True, "color": ALL}),
        (channel.foreground_histogram, "labelled voxels", {"color": LABELLED, "linewidth": 1.5}),
    ):
        axis.stairs(100 * np.array(counts) / max(1, sum(counts)), edges, label=label, **style)
    factors = edges[1:] / edges[:-1] if edges[0] > 0 else np.zeros(1)
    if factors.min() > 1.02:  # bins of equal factors: the images have no common scale
        _make_logarithmic(axis, "x")
    _make_logarithmic(axis, "y")
    axis.set_ylim(bottom=0.01)
    if normalization.scheme == "ct":
        for value in (normalization.low, normalization.high):
            axis.axvline(value, color=PLANNED, linestyle="--", linewidth=1)
        axis.plot([], [], color=PLANNED, linestyle="--", linewidth=1, label="clipped here")
    axis.set_title(f"Intensities: {name}", parse_math=False)
    axis.set(xlabel="as stored in the files", ylabel="% of the voxels")
    axis.legend(fontsize=8)
    axis.grid(alpha=0.25)


def _draw_sizes(axis, sizes: dict[str, Sequence[float]]) -> None:
    _draw_strips(axis, sizes)
    axis.set(title="Sizes", ylabel="stored pixels")


def _draw_spacings(axis, spacings: dict[str, Sequence[float]], planned: dict[str, float]) -> None:
    _draw_strips(axis, spacings)
    places = [list(spacings).index(name) for name in planned]
    values = list(planned.values())
    axis.plot(places, values, linestyle="", marker="D", fillstyle="none", markersize=9, color=PLANNED, label="planned")
    axis.set(title="Spacings", ylabel="mm")
    axis.legend(fontsize=8)


def _draw_strips(axis, values: dict[str, Sequence[float]]) -> None:
    """A dot per case, a line and a number for each median."""
    random = np.random.default_rng(0)
    for place, numbers in enumerate(values.values()):
        axis.scatter(place + random.uniform(-0.22, 0.22, len(numbers)), numbers, s=9, color=LABELLED, alpha=0.5)
        middle = float(np.median(numbers))
        axis.plot([place - 0.3, place + 0.3], [middle, middle], color="black", linewidth=1.2)
        axis.annotate(f"{middle:.4g}", (place + 0.32, middle), fontsize=8, va="center")
    axis.set_xticks(range(len(values)), list(values))
    axis.set_xlim(-0.5, len(values) - 0.3)
    _choose_scale(axis, "y", [number for numbers in values.values() for number in numbers])
    axis.grid(axis="y", alpha=0.25)


def _draw_classes(axis, plan: Plan, fingerprint: Fingerprint) -> None:
    """A line per class: a dot for each case that holds it, at its share of the case's voxels."""
    random = np.random.default_rng(0)
    cases = list(fingerprint.cases.values())
    labels = default_labels(plan.labels)
    everything: list[float] = []
    for place, label in enumerate(labels):
        shares = np.array([case.label_voxels[label.name] / math.prod(case.size) for case in cases])
        present = 100 * shares[shares > 0]
        everything += present.tolist()
        color = [part / 255 for part in label.color]
        axis.scatter(present, place + random.uniform(-0.25, 0.25, len(present)), s=9, color=color, alpha=0.7)
        if len(present):
            axis.plot([np.median(present)] * 2, [place - 0.35, place + 0.35], color="black", linewidth=1.2)
        text = f"{len(present)} of {len(cases)}"
        axis.annotate(text, (1.01, place), xycoords=("axes fraction", "data"), fontsize=8, va="center")
    axis.set_yticks(range(len(labels)), [label.name for label in labels], parse_math=False)
    axis.set(title="Classes: share of a case, and cases that hold it", xlabel="% of the case's voxels")
    _choose_scale(axis, "x", everything)
    axis.set_ylim(len(labels) - 0.5, -0.5)
    axis.grid(axis="x", alpha=0.25)


def _choose_scale(axis, name: str, values: Sequence[float]) -> None:
    """From 0, or logarithmic where the values are of different magnitudes. name: "x" or "y"."""
    if max(values) > WIDE * min(values):
        _make_logarithmic(axis, name)
    else:
        axis.set(**{f"{name}lim": (0, 1.12 * max(values))})


def _make_logarithmic(axis, name: str) -> None:
    """With plain numbers at 1, 2, 5, 10, ... instead of powers, where the range is small, and at 1, 10, 100 else."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set(**{f"{name}scale": "log"})
    scale = getattr(axis, f"{name}axis")
    low, high = scale.get_data_interval()
    scale.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 500 * max(low, 1e-9) else (1,)))
    scale.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    scale.set_minor_formatter(NullFormatter())
