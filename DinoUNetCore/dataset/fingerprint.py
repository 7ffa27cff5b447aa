"""What a data set looks like: sizes, spacings, intensities and label counts, measured once and kept as JSON."""

import math
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from DinoUNetCore.dataset.label_scheme import scheme_of
from DinoUNetCore.dataset.layout import Dataset, check_case, count_labels
from DinoUNetCore.dataset.problems import Problems
from DinoUNetCore.dataset.readable_json import write_readable_json
from DinoUNetCore.errors import UserError
from DinoUNetCore.files import read_json
from DinoUNetCore.volume.label_scheme import LabelScheme
from DinoUNetCore.volume.volume import Grid, Volume

VERSION = 1
SAMPLES_PER_CASE = 10_000
SAMPLES_IN_ALL = 4_000_000  # keeps memory bounded when there are thousands of cases
PERCENTILES = (0.5, 99.5)
BINS = 60  # of a histogram
WIDE = 30  # a highest value this many times the median: images without a common scale


@dataclass(frozen=True)
class CaseFingerprint:
    """One case: its grid in storage order (as in Grid, mm, LPS), each channel's intensities, voxels per label name (of
    regions, which may overlap; ignored ones are not counted).
    """

    dimension: int
    size: tuple[int, int, int]
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]
    direction: tuple[float, ...]
    channels: list[dict[str, float]]
    label_voxels: dict[str, int]

    @property
    def grid(self) -> Grid:
        return Grid(self.size, self.spacing, self.origin, self.direction, self.dimension)


@dataclass(frozen=True)
class ChannelFingerprint:
    """One channel over the whole set, from at most SAMPLES_PER_CASE voxels drawn from each case.

    low and high are the 0.5 and 99.5 percentiles: of the labelled voxels (foreground_*) and of all voxels (image_*).
    histogram_edges: equal steps, or equal factors where the images have no common scale; voxels beyond them count in
    the outermost bins. The histograms hold the numbers of drawn voxels.
    """

    foreground_low: float
    foreground_high: float
    foreground_mean: float
    foreground_std: float
    image_low: float
    image_high: float
    histogram_edges: list[float] = field(default_factory=list, repr=False)
    foreground_histogram: list[int] = field(default_factory=list, repr=False)
    image_histogram: list[int] = field(default_factory=list, repr=False)


@dataclass(frozen=True)
class Fingerprint:
    """A data set's measurements; `channels` follows the order of the data set's channel names."""

    dataset: str
    channels: list[ChannelFingerprint]
    label_voxels: dict[str, int]
    cases: dict[str, CaseFingerprint] = field(repr=False)

    def save(self, path: str | Path) -> None:
        write_readable_json(path, {"version": VERSION, **asdict(self)})

    @classmethod
    def load(cls, path: str | Path) -> "Fingerprint":
        """Read what `save` wrote. UserError when the file is something else."""
        table = read_json(path)
        if not isinstance(table, dict) or table.get("version") != VERSION:
            raise UserError(f"{path} is not a fingerprint of version {VERSION}; delete it, so that it is made again.")
        try:
            return cls(
                table["dataset"],
                [ChannelFingerprint(**channel) for channel in table["channels"]],
                table["label_voxels"],
                {name: _case_from_json(case) for name, case in table["cases"].items()},
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{path} is damaged ({error!r}); delete it, so that it is made again.") from error


def make_fingerprint(
    dataset: Dataset,
    progress: Callable[[int, int], None] | None = None,
    *,
    unit: str | None = None,
    resample_channels: bool = False,
    problems: Problems | None = None,
) -> Fingerprint:
    """Read every case once, check it (see `check_case`, also for `unit`) and measure it.

    `progress(done, total)` is called after each case. The same files give the same numbers: the voxels that are sampled
    depend on the case's name only. What is wrong with any case is told together, in one UserError, with the `problems`
    that were found before: what `check_case` raises, 2D among 3D cases, no labelled voxel at all.
    """
    problems = problems or Problems()
    cases: dict[str, CaseFingerprint] = {}
    foreground: list[np.ndarray] = []
    everything: list[np.ndarray] = []
    samples = min(SAMPLES_PER_CASE, max(100, SAMPLES_IN_ALL // max(1, len(dataset.cases))))
    for done, case in enumerate(dataset.cases, start=1):
        with problems.collecting():
            volume, label = check_case(case, dataset, unit=unit, resample_channels=resample_channels)
            random = np.random.default_rng(zlib.crc32(case.name.encode("utf-8")))
            everything.append(_sample_everything(volume, samples, random))
            foreground.append(_sample_foreground(volume, label, dataset.ignore, samples, random))
            cases[case.name] = _measure_case(volume, label, everything[-1], dataset)
        if progress is not None:
            progress(done, len(dataset.cases))
    _check_dimensions(dataset, cases, problems)
    problems.refuse()
    label_voxels = {name: sum(case.label_voxels[name] for case in cases.values()) for name in dataset.labels}
    channels = _measure_channels(np.concatenate(foreground, axis=1), np.concatenate(everything, axis=1), dataset)
    return Fingerprint(dataset.name, channels, label_voxels, cases)


def _sample_everything(volume: Volume, samples: int, random: np.random.Generator) -> np.ndarray:
    """(channels, samples) float64, drawn from all voxels; all of them where they are few."""
    shape = volume.channels[0].shape
    voxels = int(np.prod(shape))
    chosen = np.arange(voxels) if voxels <= samples else random.integers(0, voxels, samples)
    return _values_at(volume, np.unravel_index(chosen, shape))


def _sample_foreground(
    volume: Volume, label: sitk.Image, ignore: int | None, samples: int, random: np.random.Generator
) -> np.ndarray:
    """(channels, samples) float64, drawn from the labelled voxels; all of them where they are few."""
    shape = volume.channels[0].shape
    values = sitk.GetArrayViewFromImage(label)
    chosen = np.flatnonzero(values if ignore is None else (values != 0) & (values != ignore))
    if chosen.size > samples:
        chosen = chosen[random.integers(0, chosen.size, samples)]
    return _values_at(volume, np.unravel_index(chosen, shape))


def _values_at(volume: Volume, where: tuple[np.ndarray, ...]) -> np.ndarray:
    return np.stack([channel[where].astype(np.float64) for channel in volume.channels])


def _measure_case(volume: Volume, label: sitk.Image, samples: np.ndarray, dataset: Dataset) -> CaseFingerprint:
    channels = []
    for channel, values in zip(volume.channels, samples, strict=True):
        low, high = np.percentile(values, PERCENTILES)
        channels.append(
            {
                "minimum": _rounded(channel.min()),
                "low": _rounded(low),
                "mean": _rounded(values.mean()),
                "high": _rounded(high),
                "maximum": _rounded(channel.max()),
                "std": _rounded(values.std()),
            }
        )
    grid = volume.grid
    return CaseFingerprint(
        dimension=grid.dimension,
        size=tuple(grid.size),
        spacing=tuple(grid.spacing),
        origin=tuple(grid.origin),
        direction=tuple(grid.direction),
        channels=channels,
        label_voxels=_label_voxels(count_labels(label), scheme_of(dataset)),
    )


def _label_voxels(counts: dict[int, int], scheme: LabelScheme) -> dict[str, int]:
    """{name: voxels}, the background's first."""
    if scheme.regions is None:
        return {name: counts.get(value, 0) for name, value in scheme.labels.items()}
    labelled = {name: sum(counts.get(value, 0) for value in values) for name, values in scheme.regions.items()}
    return {name: labelled[name] if value else counts.get(value, 0) for name, value in scheme.labels.items()}


def _check_dimensions(dataset: Dataset, cases: dict[str, CaseFingerprint], problems: Problems) -> None:
    """Pictures among volumes, or volumes among pictures: whichever are fewer are wrong."""
    dimensions = Counter(case.dimension for case in cases.values())
    if len(dimensions) < 2:
        return
    usual = dimensions.most_common(1)[0][0]
    files = {case.name: case.images[0] for case in dataset.cases}
    example = next(files[name].name for name, case in cases.items() if case.dimension == usual)
    for name, case in cases.items():
        if case.dimension != usual:
            problems.add(
                f"{files[name]} is {case.dimension}D but {example} is {usual}D; put pictures and volumes into data "
                "sets of their own."
            )


def _measure_channels(foreground: np.ndarray, everything: np.ndarray, dataset: Dataset) -> list[ChannelFingerprint]:
    if foreground.shape[1] == 0:
        raise UserError(
            f"no label map in {dataset.folder / 'labelsTr'} holds a labelled voxel; there is nothing to train on."
        )
    channels = []
    for labelled, voxels in zip(foreground, everything, strict=True):
        low, high = np.percentile(labelled, PERCENTILES)
        image_low, image_high = np.percentile(voxels, PERCENTILES)
        numbers = (low, high, labelled.mean(), labelled.std(), image_low, image_high)
        edges = _histogram_edges(voxels, labelled)
        histograms = (np.histogram(np.clip(part, edges[0], edges[-1]), edges)[0] for part in (labelled, voxels))
        channels.append(
            ChannelFingerprint(*map(_rounded, numbers), edges, *(counts.tolist() for counts in histograms))
        )
    return channels


def _histogram_edges(voxels: np.ndarray, labelled: np.ndarray) -> list[float]:
    """Rising edges of about BINS bins between the percentiles of all and of the labelled voxels together."""
    both = np.concatenate([np.percentile(part, PERCENTILES) for part in (voxels, labelled)])
    low, high = float(both.min()), float(both.max())
    positive = voxels[voxels > 0]
    if low >= 0 and positive.size and high > WIDE * np.median(positive):
        edges = np.geomspace(np.percentile(positive, PERCENTILES[0]), high, BINS + 1)
    elif (voxels == np.rint(voxels)).all():  # whole steps: others would hold more numbers now and then
        step = max(1, math.ceil((high - low) / BINS))
        edges = np.arange(math.floor(low) - 0.5, high + step, step)
    else:
        edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
    return [_rounded(edge) for edge in edges]


def _case_from_json(table: dict[str, Any]) -> CaseFingerprint:
    tuples = {key: tuple(table[key]) for key in ("size", "spacing", "origin", "direction")}
    return CaseFingerprint(**{**table, **tuples})


def _rounded(number: Any) -> float:
    """Six significant digits: more only makes the JSON hard to read."""
    return float(f"{float(number):.6g}")
