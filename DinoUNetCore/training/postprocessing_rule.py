"""Of which structures only the largest piece is kept: chosen on predictions of cases that no network had seen.

As nnU-Net chooses its postprocessing (Isensee et al. 2021), but structure by structure, and by the distance as well.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from DinoUNetCore.dataset.layout import Dataset
from DinoUNetCore.dataset.plan import Plan
from DinoUNetCore.metrics import mean
from DinoUNetCore.training.fold_runs import told_how_to_measure_again
from DinoUNetCore.training.validation import measure_cases
from DinoUNetCore.volume.geometry import Slicing
from DinoUNetCore.volume.reading import read_label_map
from DinoUNetCore.volume.volume import Grid, channel_arrays

Measured = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""{case: {structure: measures}}, as of `metrics.evaluate_case`."""


@dataclass(frozen=True)
class Rule:
    """keep_largest: names of structures. tried: per structure the mean Dice and HD95 over the cases without and with
    it; empty if nothing was tried.
    """

    keep_largest: list[str]
    tried: dict[str, dict[str, list[float | None]]]

    def to_json(self) -> dict[str, Any]:
        return {"keep_largest": self.keep_largest, "tried": self.tried}

    def applied(self, without: Measured, with_it: Measured) -> dict[str, dict[str, Mapping[str, Any]]]:
        """The measures of each case after the rule. The pieces of one structure do not touch another one's measures."""
        return {
            case: {
                name: (with_it if name in self.keep_largest else without)[case][name] for name in without[case]
            }
            for case in without
        }


def choose_rule(without: Measured, with_it: Measured) -> Rule:
    """Keep the largest piece of a structure only where that makes its mean Dice larger, and its mean HD95 no larger.

    without, with_it: the same cases as predicted, and with the largest piece of every structure only.
    """
    names = list(dict.fromkeys(name for case in without.values() for name in case))
    tried = {
        name: {
            measure: [mean(case[name][measure] for case in cases.values()) for cases in (without, with_it)]
            for measure in ("dice", "hd95")
        }
        for name in names
    }
    return Rule([name for name in names if _helps(**tried[name])], tried)


def _helps(dice: list[float | None], hd95: list[float | None]) -> bool:
    return dice[0] is not None and dice[1] > dice[0] and hd95[1] <= hd95[0]


def measure_largest_pieces(
    measured: Measured,
    predictions: Mapping[str, Path],
    dataset: Dataset,
    plan: Plan,
    keep_largest: Callable[[np.ndarray], None],
    *,
    resample_channels: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Mapping[str, Mapping[str, Any]]]:
    """Measure the label maps `predictions` with the largest piece of every structure only.

    measured: how they are as they are, which is returned for those that this does not change. keep_largest: clears the
    smaller pieces in canonical slices, in place. UserError for a file that cannot be read.
    """
    results = dict(measured)
    for number, (case, path) in enumerate(predictions.items()):
        if progress:
            progress(number, len(predictions))
        image = _largest_pieces(path, plan, keep_largest)
        if image is not None:
            results |= measure_cases(
                lambda _, image=image: image, dataset, [case], unit=plan.unit, resample_channels=resample_channels
            )
    if progress:
        progress(len(predictions), len(predictions))
    return results


def _largest_pieces(path: Path, plan: Plan, keep_largest: Callable[[np.ndarray], None]) -> sitk.Image | None:
    """The label map RUN/fold_N/validation/CASE.* without smaller pieces; None if it has none."""
    with told_how_to_measure_again(path.parents[1]):
        image = read_label_map(path)
    grid, before = Grid.of(image), channel_arrays(image)[0]
    labels = before.copy()
    keep_largest(Slicing.of(grid, plan.plane, plan.unit).cut(labels))
    return None if np.array_equal(labels, before) else grid.to_image(labels)
