"""What was measured on whole cases, as tables of a report."""

from collections.abc import Mapping
from statistics import median, stdev
from typing import Any

from DinoUNetCore.metrics import TOLERANCE
from DinoUNetCore.training.case_overlays import case_dice
from DinoUNetCore.training.html_page import Html, table

METRICS_EXPLAINED = (
    "Dice: overlap, 1 is perfect (± standard deviation over the cases). HD95 and ASSD: the 95th percentile and the "
    "mean of the distances between the surfaces. NSD: the share of the surfaces within the tolerance. A structure that "
    "is missed, or found where there is none, counts as Dice 0 and as the image's diagonal. Cases without the "
    "structure in either map are not counted. The mean weighs all structures alike."
)


def number(value: float | None, digits: int) -> str:
    """A cell's text; "-" where nothing was measured."""
    return "-" if value is None else f"{value:.{digits}f}"


def noun(count: int, name: str) -> str:
    """Such as "case" for one, "cases" for others."""
    return name if count == 1 else name + "s"


def counted(count: int, name: str) -> str:
    """Such as "1 case" and "2 cases"."""
    return f"{count} {noun(count, name)}"


def accuracy_table(metrics: Mapping[str, Any]) -> Html:
    """A row per structure and their mean. metrics: the result of `metrics.summarise`."""
    unit = metrics["unit"]
    headings = (
        "structure", "Dice", "median", "lowest", f"HD95 ({unit})", f"ASSD ({unit})",
        f"NSD ({metrics.get('nsd_tolerance', TOLERANCE):g} {unit})", "cases", "missed", "invented",
    )  # fmt: skip
    rows = []
    for name, row in metrics["labels"].items():
        found = [case[name] for case in metrics["cases"].values() if case.get(name, {}).get("dice") is not None]
        dice = [result["dice"] for result in found]
        spread = f" ± {stdev(dice):.3f}" if len(dice) > 1 else ""
        rows.append(
            (
                name, number(row["dice"], 3) + spread, number(median(dice) if dice else None, 3),
                number(min(dice, default=None), 3), number(row["hd95"], 2), number(row["assd"], 2),
                number(row["nsd"], 3), row["cases"], row["missed"], row["invented"],
            )
        )  # fmt: skip
    mean = metrics["mean"]
    if len(rows) > 1:
        distances = (number(mean["hd95"], 2), number(mean["assd"], 2))
        rows.append(("mean", number(mean["dice"], 3), None, None, *distances, number(mean["nsd"], 3), None, None, None))
    return table(headings, rows)


def case_table(metrics: Mapping[str, Any]) -> Html:
    """Mean Dice, then Dice and HD95 of each structure: a row per case, the worst first."""
    names, dice = list(metrics["labels"]), case_dice(metrics["cases"])
    headings = ["case", "mean Dice", *(f"{what} {name}" for name in names for what in ("Dice", "HD95"))]
    rows = []
    for case in sorted(dice, key=lambda case: (dice[case] is None, dice[case], case)):
        results = [metrics["cases"][case].get(name, {}) for name in names]
        cells = [number(result.get(key), digits) for result in results for key, digits in (("dice", 3), ("hd95", 2))]
        rows.append([case, number(dice[case], 3), *cells])
    return table(headings, rows)

