"""Compare label maps with reference ones: python -m DinoUNetCore.evaluate PREDICTIONS LABELS [-o metrics.json]

What is measured, and how empty classes count, is said in DinoUNetCore/metrics.py.
"""

import sys
from argparse import Namespace
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from DinoUNetCore.command_line import Parser, run
from DinoUNetCore.errors import UserError
from DinoUNetCore.files import read_json, write_json
from DinoUNetCore.metrics import METRICS, TOLERANCE, evaluate_case, mean, present_values, summarise
from DinoUNetCore.volume.endings import ENDINGS, strip_ending
from DinoUNetCore.volume.label_scheme import BACKGROUND, LabelScheme
from DinoUNetCore.volume.label_table import read_label_scheme

if TYPE_CHECKING:
    from DinoUNetCore.volume.volume import Grid

# What counts as a label map when a folder is searched: colour tables and the like lie beside them, .img beside .hdr.
LABEL_MAP_ENDINGS = tuple(ending for ending in ENDINGS if not ending.startswith(".img"))
HEADINGS = {"dice": "Dice", "hd95": "HD95 {unit}", "asd": "ASD {unit}", "assd": "ASSD {unit}", "nsd": "NSD"}
WORST = 3


def evaluate(
    predictions: Path,
    labels: Path,
    dataset: Path | None = None,
    *,
    tolerance: float = TOLERANCE,
    allow_missing: bool = False,
) -> dict:
    """Measure all cases. `predictions` and `labels` are two files, two folders, or a file and a folder.

    dataset: a dataset.json with the names of the label values, its regions, and the value of ignored voxels; None: the
    one beside the folder of `labels`, else the values are the names. tolerance: of the NSD. allow_missing: leave out
    labels without a prediction instead of refusing them.

    Returns what `metrics.summarise` returns, and "nsd_tolerance". The unit is "pixel" where the labels are pictures,
    whose files store a printer's resolution, else "mm". Every mistake is a UserError naming the file.
    """
    try:
        from tqdm import tqdm
    except ImportError:
        raise UserError('tqdm is not installed; run python -m pip install "dinounet-slicer[train]".') from None

    pairs = find_pairs(predictions, labels, allow_missing=allow_missing)
    dataset = dataset or _dataset_beside(labels)
    scheme = read_labels(dataset) if dataset else None
    cases = {}
    units: dict[str, Path] = {}  # each with the first label map that is measured in it
    for name, (prediction, label) in tqdm(pairs.items(), desc="Evaluating", unit="case", disable=None):
        cases[name], unit = _evaluate_files(prediction, label, scheme, dataset, tolerance)
        units.setdefault(unit, label)
        if len(units) > 1:
            raise UserError(f"{units['pixel']} is measured in pixels and {units['mm']} in mm; evaluate them apart.")
    if scheme is None:
        cases = _in_order_of_values(cases)
    return summarise(cases, *units) | {"nsd_tolerance": tolerance}


def find_pairs(predictions: Path, labels: Path, *, allow_missing: bool = False) -> dict[str, tuple[Path, Path]]:
    """{case: (prediction, label)}, sorted by case: the files of two folders whose names agree but for the ending.

    Two files make a pair whatever their names are. A file and a folder: the file of that name in the folder.
    Predictions without a label are named on the standard error and left out; labels without a prediction are a
    UserError, because a mean without the cases that failed looks better than it is.
    """
    for path in (predictions, labels):
        if not path.exists():
            raise UserError(f"{path} does not exist; name a label map or a folder of label maps.")
    if predictions.is_file() and labels.is_file():
        return {strip_ending(labels.name): (predictions, labels)}
    predicted, expected = _label_maps(predictions), _label_maps(labels)
    common = sorted(set(predicted) & set(expected))
    if not common:
        raise UserError(
            f"no label map in {predictions} has the name of one in {labels} ({_some(predicted)} against "
            f"{_some(expected)}); give both the case's name, apart from the ending."
        )
    missing = sorted(set(expected) - set(predicted))
    if missing and labels.is_dir() and predictions.is_dir():
        if not allow_missing:
            raise UserError(
                f"{predictions} has no prediction for {len(missing)} of the {len(expected)} label maps in {labels} "
                f"({_some(missing)}); add them, or leave these cases out with --allow-missing."
            )
        _warn(f"{len(missing)} of {len(expected)} label maps have no prediction and are left out ({_some(missing)}).")
    extra = sorted(set(predicted) - set(expected))
    if extra and labels.is_dir():
        _warn(f"{len(extra)} files in {predictions} have no label map and are left out ({_some(extra)}).")
    return {name: (predicted[name], expected[name]) for name in common}


def read_labels(dataset: Path) -> LabelScheme:
    """What the label values in an nnU-Net v2 dataset.json mean."""
    content = read_json(dataset)
    labels = content.get("labels") if isinstance(content, dict) else None
    if not isinstance(labels, dict) or not labels:
        raise UserError(f'{dataset} has no table "labels"; it should look like {{"background": 0, "liver": 1}}.')
    if BACKGROUND not in labels.values():  # nothing is measured there, so it need not be named
        content = {**content, "labels": {"background": BACKGROUND, **labels}}
    return read_label_scheme(content, dataset)


def report(summary: dict) -> str:
    """A plain text table: every class, the mean, and the worst cases by their mean Dice."""
    rows = [["class", "cases", *(HEADINGS[metric].format(unit=summary["unit"]) for metric in METRICS)]]
    for name, label in summary["labels"].items():
        rows.append([name, str(label["cases"]), *(_number(label[metric], metric) for metric in METRICS)])
    rows.append(["mean", "", *(_number(summary["mean"][metric], metric) for metric in METRICS)])
    lines = _aligned(rows)
    lines.insert(1, "-" * len(lines[0]))
    lines.insert(-1, "-" * len(lines[0]))
    missed = sum(label["missed"] for label in summary["labels"].values())
    invented = sum(label["invented"] for label in summary["labels"].values())
    if missed or invented:
        lines += [
            "",
            f"Classes missed altogether: {missed} times; predicted where there are none: {invented} times.",
            "They count with Dice 0 and the image's diagonal as distance.",
        ]
    means = {case: mean(result["dice"] for result in results.values()) for case, results in summary["cases"].items()}
    measured = sorted((case for case in means if means[case] is not None), key=lambda case: (means[case], case))
    if len(measured) > 1:
        rows = [["worst cases", "Dice", "worst class", "Dice"]]
        for case in measured[:WORST]:
            results = {name: result for name, result in summary["cases"][case].items() if result["dice"] is not None}
            name = min(results, key=lambda name: results[name]["dice"])
            rows.append([case, _number(means[case], "dice"), name, _number(results[name]["dice"], "dice")])
        lines += ["", *_aligned(rows, left=(0, 2))]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Evaluate as the command line says, print the table and write the JSON file."""
    options = _parse(arguments)
    if options.output is not None and options.output.exists() and not options.overwrite:
        raise UserError(f"{options.output} exists; choose another name or add --overwrite.")
    if options.output is not None and options.output.is_dir():
        raise UserError(f"{options.output} is a folder; give -o the name of a file, such as metrics.json.")
    if not 0 <= options.tolerance < float("inf"):
        raise UserError(f"--tolerance is {options.tolerance}; give a length, 0 or more.")
    summary = evaluate(
        options.predictions,
        options.labels,
        options.dataset,
        tolerance=options.tolerance,
        allow_missing=options.allow_missing,
    )
    print(report(summary))
    if options.output is not None:
        write_json(options.output, summary)
        print(f"\nWritten: {options.output}")


def _parse(arguments: Sequence[str] | None) -> Namespace:
    parser = Parser(
        prog="python -m DinoUNetCore.evaluate",
        description="Compare label maps with reference ones: Dice, HD95 and average surface distances per class.",
    )
    parser.add_argument(
        "predictions", metavar="PREDICTIONS", type=Path, help="a predicted label map, or a folder of them"
    )
    parser.add_argument(
        "labels", metavar="LABELS", type=Path, help="the reference, or a folder with the same file names"
    )
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write all numbers to this JSON file")
    parser.add_argument(
        "--dataset",
        type=Path,
        metavar="FILE",
        help="dataset.json that names the label values (default: the one beside LABELS; without one, values are names)",
    )
    tolerance_help = "of the surface Dice (NSD), in mm, of pictures in pixels (default: 1)"
    parser.add_argument("--tolerance", type=float, default=TOLERANCE, metavar="LENGTH", help=tolerance_help)
    parser.add_argument("--allow-missing", action="store_true", help="leave out labels that have no prediction")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing output file")
    return parser.parse_args(arguments)


def _evaluate_files(
    prediction: Path, label: Path, scheme: LabelScheme | None, dataset: Path | None, tolerance: float
) -> tuple[dict[str, dict], str]:
    """What `metrics.evaluate_case` returns, and the unit of its distances."""
    from DinoUNetCore.volume.reading import is_picture, read_label_map
    from DinoUNetCore.volume.volume import Grid, channel_arrays

    images = [read_label_map(path) for path in (prediction, label)]
    grid, other = Grid.of(images[1]), Grid.of(images[0])
    difference = _difference(grid, other, is_picture(label) or is_picture(prediction))
    if difference:
        raise UserError(
            f"{prediction} lies on another grid than {label}: {difference}; "
            "resample one onto the other's grid with nearest neighbours, or correct its header."
        )
    arrays = [channel_arrays(image)[0] for image in images]
    predicted = _checked_values(prediction, arrays[0], scheme, dataset)
    expected = _checked_values(label, arrays[1], scheme, dataset)
    structures = scheme.structures if scheme else {str(value): value for value in sorted({*predicted, *expected})}
    unit = "pixel" if grid.size[2] == 1 and is_picture(label) else "mm"
    spacing = (1.0, 1.0, 1.0) if unit == "pixel" else grid.spacing[::-1]
    return evaluate_case(*arrays, spacing, structures, tolerance=tolerance), unit


def _difference(grid: "Grid", other: "Grid", picture: bool) -> str:
    """In words, how the grids differ; "" where their voxels can be compared. picture: whether a file of one is one."""
    from DinoUNetCore.volume.geometry import grid_difference

    flat = grid.size[2] == other.size[2] == 1
    if flat and picture:  # it has no place in space
        return grid_difference(replace(grid, dimension=2), replace(other, dimension=2), "pixel")
    if flat and grid.dimension != other.dimension:  # a .seg.nrrd holds a 2D label map as a volume of one slice
        thickness = (grid if grid.dimension == 3 else other).spacing[2]
        grid, other = (replace(item, spacing=(*item.spacing[:2], thickness), dimension=3) for item in (grid, other))
    return grid.difference(other)


def _checked_values(path: Path, array: np.ndarray, scheme: LabelScheme | None, dataset: Path | None) -> list[int]:
    """The values above 0 in a label map, all of which the scheme knows."""
    try:
        values = present_values(array)
    except ValueError as error:
        raise UserError(f"{path} cannot be evaluated: {error}; correct the file.") from None
    unknown = [] if scheme is None else sorted(set(values) - set(scheme.known_values))
    if unknown:
        shown = ", ".join(map(str, unknown[:8])) + (", ..." if len(unknown) > 8 else "")
        raise UserError(
            f"{path} holds label value(s) {shown}, which {dataset} does not name; "
            "add them to its labels, name another file by --dataset, or correct the label map."
        )
    return values


def _in_order_of_values(cases: dict[str, dict]) -> dict[str, dict]:
    """Give every case the same classes, in the order of their values; those in neither of its maps are empty."""
    names = sorted({name for case in cases.values() for name in case}, key=int)
    nothing = dict.fromkeys(METRICS) | {"prediction_voxels": 0, "reference_voxels": 0}
    return {case: {name: result.get(name, dict(nothing)) for name in names} for case, result in cases.items()}


def _dataset_beside(labels: Path) -> Path | None:
    folder = labels.resolve() if labels.is_dir() else labels.resolve().parent
    file = folder.parent / "dataset.json"
    return file if file.is_file() else None


def _label_maps(path: Path) -> dict[str, Path]:
    """{name without ending: file} for a file, or for the label maps that lie directly in a folder."""
    if path.is_file():
        return {strip_ending(path.name): path}
    found: dict[str, Path] = {}
    for file in sorted(path.iterdir()):
        # a leading dot: unfinished files, and macOS's "._case.nii.gz" on foreign disks
        if file.name.startswith(".") or not file.is_file() or not file.name.lower().endswith(LABEL_MAP_ENDINGS):
            continue
        name = strip_ending(file.name)
        if name in found:
            raise UserError(f"{found[name]} and {file} have the same case name; remove one of them.")
        found[name] = file
    if not found:
        raise UserError(
            f"{path} holds no label maps; name a folder of .nii.gz, .seg.nrrd, .mha, .png or similar files."
        )
    return found


def _some(names: Iterable[str]) -> str:
    names = sorted(names)
    return ", ".join(names[:3] + ["..."] * (len(names) > 3))


def _number(value: float | None, metric: str) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if metric in ("dice", "nsd") else f"{value:.2f}"


def _aligned(rows: list[list[str]], left: tuple[int, ...] = (0,)) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _warn(sentence: str) -> None:
    print(f"warning: {sentence}", file=sys.stderr)


if __name__ == "__main__":
    run(main)
