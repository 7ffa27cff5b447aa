"""What the folds of a cross-validation say together: means and spreads per structure, over cases and over folds."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import stdev
from typing import Any

from DinoUNetCore.metrics import METRICS, mean, summarise


@dataclass(frozen=True)
class FoldResult:
    """A trained fold. cases: what `metrics.evaluate_case` returns for those that it was validated on, by name. facts:
    of its training, as in its bundle.
    """

    number: int
    cases: Mapping[str, Mapping[str, Mapping[str, Any]]]
    facts: Mapping[str, Any]


def summarise_folds(folds: Sequence[FoldResult], unit: str) -> dict[str, Any]:
    """JSON-ready: {"unit", "mean", "labels", "folds", "cases"}.

    mean: {measure: {"mean", "sd_cases", "sd_folds"}}: the mean over the structures' means; the standard deviation of
    the cases' means over their structures, and of the folds' means. labels: {name: the same of the structure, and
    "cases", "missed", "invented" as of `metrics.summarise`}. folds: per fold its means, and facts of its training.
    cases: {case: {"fold", "labels": its measures}}. Spreads are None where there is one value only.
    """
    cases = {name: case for fold in folds for name, case in fold.cases.items()}
    together = summarise(cases, unit)
    apart = [summarise(fold.cases, unit) for fold in folds]
    labels = {}
    for name, counts in together["labels"].items():
        labels[name] = {key: counts[key] for key in ("cases", "missed", "invented")}
        for measure in METRICS:
            labels[name][measure] = {
                "mean": counts[measure],
                "sd_cases": _spread(case[name][measure] for case in cases.values() if name in case),
                "sd_folds": _spread(fold["labels"][name][measure] for fold in apart if name in fold["labels"]),
            }
    overall = {
        measure: {
            "mean": together["mean"][measure],
            "sd_cases": _spread(mean(result[measure] for result in case.values()) for case in cases.values()),
            "sd_folds": _spread(fold["mean"][measure] for fold in apart),
        }
        for measure in METRICS
    }
    return {
        "unit": unit,
        "mean": overall,
        "labels": labels,
        "folds": [_fold(fold, summary) for fold, summary in zip(folds, apart, strict=True)],
        "cases": {name: {"fold": fold.number, "labels": fold.cases[name]} for fold in folds for name in fold.cases},
    }


def _fold(fold: FoldResult, summary: Mapping[str, Any]) -> dict[str, Any]:
    means = {name: {measure: row[measure] for measure in METRICS} for name, row in summary["labels"].items()}
    kept = ("training_cases", "epochs", "best_epoch", "minutes", "hardware")
    facts = {key: fold.facts[key] for key in kept if key in fold.facts}
    return {"fold": fold.number, "cases": sorted(fold.cases), **facts, "mean": summary["mean"], "labels": means}


def _spread(values: Iterable[float | None]) -> float | None:
    """The standard deviation of a sample; values that are None do not count."""
    known = [value for value in values if value is not None]
    return stdev(known) if len(known) > 1 else None


def number_with_spread(row: Mapping[str, float | None], spread: str, digits: int) -> str:
    """"0.877 ± 0.012", or "-" where nothing was measured. row: with "mean" and the spread, "sd_cases" or "sd_folds"."""
    if row["mean"] is None:
        return "-"
    text = f"{row['mean']:.{digits}f}"
    return text if row[spread] is None else f"{text} ± {row[spread]:.{digits}f}"


def text_table(summary: Mapping[str, Any]) -> str:
    """Structures with their mean Dice and HD95, ± standard deviation over the folds, for a terminal."""
    rows = [("", "Dice", f"HD95 {summary['unit']}")]
    for name, row in (*summary["labels"].items(), ("mean", summary["mean"])):
        rows.append((name, *(number_with_spread(row[m], "sd_folds", d) for m, d in (("dice", 3), ("hd95", 2)))))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    )
