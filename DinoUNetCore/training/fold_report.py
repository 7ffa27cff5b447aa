"""The report of a cross-validation: RUN/report.html, one file with all numbers and pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from DinoUNetCore.dataset.layout import Dataset
from DinoUNetCore.dataset.plan import Plan
from DinoUNetCore.files import read_json, write_text
from DinoUNetCore.metrics import mean
from DinoUNetCore.training.fold_summary import number_with_spread
from DinoUNetCore.training.html_page import Html, folded, page, paragraph, picture, section, table, tiles, warning
from DinoUNetCore.training.run_report import how_to_repeat, how_to_use

_DIGITS = {"dice": 3, "hd95": 2, "assd": 2, "nsd": 3}


def write_fold_report(
    path: Path,
    summary: Mapping[str, Any],
    dataset: Dataset,
    plan: Plan,
    *,
    title: str,
    pictures: Sequence[tuple[Path, str]],
) -> None:
    """Write the page, into the folder that holds the bundle and the folds. summary: the content of crossval.json.
    pictures: PNG files and their captions; those that are not there are left out. UserError if it cannot be written.
    """
    unit, folds = summary["unit"], summary["folds"]
    overall = summary["mean"]
    shown = [picture(file.read_bytes(), caption) for file, caption in pictures if file.is_file()]
    parts = [
        tiles(
            [
                (number_with_spread(overall["dice"], "sd_folds", 3), "mean Dice ± SD over the folds"),
                (number_with_spread(overall["hd95"], "sd_folds", 2), f"mean HD95 in {unit} ± SD over the folds"),
                (str(len(summary["cases"])), "cases, each segmented by the network that had not seen it"),
                (str(len(folds)), "folds, whose networks are one ensemble in the model"),
            ]
        ),
        *map(warning, plan.warnings),
        paragraph(
            "Each network is that of the epoch that was best by its Dice on patches of the same cases that it is "
            "measured on, so expect a little less on new ones."
        ),
        section("Structures", *_structures(summary), *shown[:1]),
        section("Folds", table(*_folds(folds, unit))),
        section("Postprocessing", *_postprocessing(summary)),
        *([section("Cases", *shown[1:])] if shown[1:] else []),
        folded("All cases, the worst first", table(*_cases(summary))),
        section("To use the model", *how_to_use(path.parent / "bundle", dataset)),
        *_repeat(path.parent / f"fold_{folds[0]['fold']}" / "manifest.json"),
    ]
    write_text(path, page(title, parts))


def _structures(summary: Mapping[str, Any]) -> list[Html]:
    unit = summary["unit"]
    heads = {"dice": "Dice", "hd95": f"HD95 {unit}", "assd": f"ASSD {unit}", "nsd": "NSD"}
    rows = [
        [name, row.get("cases"), *_spreads(row, "sd_cases"), row.get("missed"), row.get("invented")]
        for name, row in (*summary["labels"].items(), ("mean", summary["mean"]))
    ]
    over_folds = [
        [name, *_spreads(row, "sd_folds")]
        for name, row in (*summary["labels"].items(), ("mean", summary["mean"]))
    ]
    return [
        paragraph("Means, ± the standard deviation over the cases: how much cases differ."),
        table(["structure", "cases", *heads.values(), "missed", "invented"], rows),
        paragraph("The same means, ± the standard deviation over the folds' means: how much trainings differ."),
        table(["structure", *heads.values()], over_folds),
    ]


def _spreads(row: Mapping[str, Any], spread: str) -> list[str]:
    return [number_with_spread(row[measure], spread, digits) for measure, digits in _DIGITS.items()]


def _folds(folds: Sequence[Mapping[str, Any]], unit: str) -> tuple[list[str], list[list[object]]]:
    names = list(dict.fromkeys(name for fold in folds for name in fold["labels"]))
    headings = ["fold", "trained on", "cases", "epochs", "best epoch", "minutes", "mean Dice", f"mean HD95 {unit}"]
    rows = [
        [
            fold["fold"],
            fold.get("training_cases"),
            len(fold["cases"]),
            *(fold.get(key) for key in ("epochs", "best_epoch", "minutes")),
            _number(fold["mean"]["dice"], 3),
            _number(fold["mean"]["hd95"], 2),
            *(_number(fold["labels"].get(name, {}).get("dice"), 3) for name in names),
        ]
        for fold in folds
    ]
    return [*headings, *(f"Dice: {name}" for name in names)], rows


def _postprocessing(summary: Mapping[str, Any]) -> list[Html]:
    rule = summary["postprocessing"]
    if not rule["tried"]:
        return [paragraph("None: for regions, which overlap, no rule is tried.")]
    kept = ", ".join(rule["keep_largest"])
    text = f"Only the largest piece is kept of: {kept}." if kept else "None: it helped no structure."
    rows = [
        [name, *(_number(value, 4) for value in tried["dice"]), *(_number(value, 2) for value in tried["hd95"]),
         "yes" if name in rule["keep_largest"] else "no"]
        for name, tried in rule["tried"].items()
    ]  # fmt: skip
    distance = f"HD95 {summary['unit']}, all pieces"
    return [
        paragraph(
            f"{text} Chosen where the mean Dice over these cases rises by it and HD95 does not. The numbers above are "
            "with it: as it was chosen on the same cases, they flatter it a little."
        ),
        table(["structure", "Dice, all pieces", "largest only", distance, "largest only", "kept"], rows),
    ]


def _cases(summary: Mapping[str, Any]) -> tuple[list[str], list[list[object]]]:
    names = list(summary["labels"])
    dice = {
        case: {name: result["dice"] for name, result in entry["labels"].items()}
        for case, entry in summary["cases"].items()
    }
    means = {case: mean(values.values()) for case, values in dice.items()}
    order = sorted(dice, key=lambda case: (means[case] is None, means[case] or 0.0, case))
    rows = [
        [case, summary["cases"][case]["fold"], _number(means[case], 3), *(_number(dice[case].get(n), 3) for n in names)]
        for case in order
    ]
    return ["case", "fold", "mean Dice", *(f"Dice: {name}" for name in names)], rows


def _repeat(path: Path) -> list[Html]:
    if not path.is_file():
        return []
    manifest = read_json(path)
    settings = {name: value for name, value in manifest["settings"].items() if name != "fold"}
    note = paragraph(f"All folds were trained by one plan with the same settings. From {path.parent.name}:")
    return [section("To repeat the run", note, *how_to_repeat(manifest | {"settings": settings}))]


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
