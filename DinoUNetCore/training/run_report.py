"""report.html: one page on a finished run, from what lies in its folder. What is missing is left out.

It says what the numbers were measured on, and what was chosen on the same cases.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from DinoUNetCore.dataset.layout import Dataset
from DinoUNetCore.dataset.plan import Plan
from DinoUNetCore.dataset.plan_table import plan_rows
from DinoUNetCore.durations import in_words
from DinoUNetCore.errors import UserError
from DinoUNetCore.files import atomic_path, read_json, write_text
from DinoUNetCore.training.accuracy_tables import METRICS_EXPLAINED, accuracy_table, case_table, counted, noun, number
from DinoUNetCore.training.case_overlays import Example, case_dice, choose_examples, draw_cases, find_predictions
from DinoUNetCore.training.dice_plot import draw_dice
from DinoUNetCore.training.html_page import (
    Html,
    code,
    folded,
    page,
    paragraph,
    picture,
    section,
    table,
    tiles,
    warning,
)
from DinoUNetCore.training.settings import Settings
from DinoUNetCore.training.stopwatch import where_time_went
from DinoUNetCore.volume.labels import Label

REPORT, METRICS, DICE_PICTURE, CASES_PICTURE = "report.html", "metrics.json", "dice.png", "cases.png"
FEW_CASES = 10  # of which a mean says little
LATE = 0.9  # of all epochs: a best epoch beyond was perhaps not the last improvement
FILES = {
    "bundle": "the model",
    METRICS: "every measured number, by case and structure",
    "validation": "segmentations of the validation cases",
    "log.csv": "loss, Dice, learning rate and speed of every epoch",
    "plan.json": "what was decided and why; pass it back with --plan",
    "fingerprint.json": "what was measured of every case before training",
    "manifest.json": "data, program and machine, to repeat the run",
    "settings.json": "the options that were given",
    DICE_PICTURE: "the Dice of every case",
    CASES_PICTURE: "the best, the median and the worst case",
    "curves.png": "loss and Dice over the epochs",
    "augmentation.png": "patches as the network saw them",
    "checkpoints": "where the training stands, for --resume",
}


@dataclass(frozen=True)
class Run:
    """What lies in a run's folder; {} where it is missing.

    metrics: of metrics.json. state: of the last checkpoint: "history", "best_epoch". manifest: of manifest.json.
    """

    folder: Path
    dataset: Dataset
    plan: Plan
    labels: Sequence[Label]
    settings: Settings
    metrics: dict[str, Any]
    state: dict[str, Any]
    manifest: dict[str, Any]

    @property
    def title(self) -> str:
        return f"{self.dataset.name}: Dino U-Net {self.settings.variant}, fold {self.settings.fold}"

    @property
    def history(self) -> list[dict[str, Any]]:
        return self.state.get("history", [])

    def picture(self, name: str, caption: str) -> list[Html]:
        """A picture of the folder, if it is there."""
        path = self.folder / name
        return [picture(path.read_bytes(), caption)] if path.is_file() else []


def write_report(
    folder: Path, dataset: Dataset, plan: Plan, labels: Sequence[Label], metrics: dict[str, Any] | None = None
) -> Path:
    """Write RUN/report.html, and its pictures dice.png and cases.png beside it. Returns its path.

    labels: of the structures, in the order of the network's outputs. metrics: what metrics.json is to hold; None: what
    it holds, if it is there. UserError if something cannot be written.
    """
    run = Run(
        folder,
        dataset,
        plan,
        labels,
        Settings.load(folder / "settings.json"),
        _read(folder / METRICS) if metrics is None else metrics,
        _read(folder / "checkpoints" / "last.json"),
        _read(folder / "manifest.json"),
    )
    parts = [_headline(run), *_honesty(run)]
    for title, found in (
        ("Accuracy", _accuracy(run)),
        ("Cases", _cases(run)),
        ("Training", _training(run)),
        ("Plan", _plan(run)),
        ("To use the model", _use(run)),
        ("To repeat the run", how_to_repeat(run.manifest)),
    ):
        if found:
            parts.append(section(title, *found))
    write_text(folder / REPORT, page(run.title, parts))
    return folder / REPORT


def _read(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}


# what is said first ----------------------------------------------------------------------------------------------


def _headline(run: Run) -> Html:
    training, validation = run.plan.training_and_validation(run.settings.fold)
    entries = []
    if run.metrics:
        mean = run.metrics["mean"]
        entries = [
            (number(mean["dice"], 3), "mean Dice of the structures"),
            (f"{number(mean['hd95'], 2)} {run.metrics['unit']}", "mean HD95"),
        ]
    seen = "seen in training too" if run.plan.validates_on_training_cases else "unseen in training"
    entries += [
        (str(len(training)), noun(len(training), "training case")),
        (str(len(validation)), f"{noun(len(validation), 'validation case')}, {seen}"),
    ]
    if run.history:
        seconds, epochs = sum(row["seconds"] for row in run.history), len(run.history)
        entries.append((str(epochs), f"{noun(epochs, 'epoch')} in {in_words(seconds)}"))
    return tiles(entries)


def _honesty(run: Run) -> list[Html]:
    """What the numbers are, and are not, evidence for."""
    if not run.metrics:
        return [warning("Nothing has been measured on whole images yet: the training is not finished.")]
    if run.plan.validates_on_training_cases:
        text = "The cases that were measured are the training cases: the numbers say nothing about other images."
        return [warning(text)]
    validation = run.plan.training_and_validation(run.settings.fold)[1]
    count = len(validation)
    what = f"the {count} validation cases" if count > 1 else "the one validation case"
    apart = "; cases of one group (patient) are never on both sides" if _groups_are_apart(run) else ""
    text = f"Measured on whole images: {what} of fold {run.settings.fold}, which the network was not trained on{apart}."
    if best := run.state.get("best_epoch"):
        text += (
            f" The weights are those of epoch {best} of {len(run.history)}, chosen by their Dice on patches of "
            "these same cases. So expect a little less on new ones, and measure on cases that no choice was made on "
            "before you publish a number."
        )
    parts = [paragraph(text)]
    if count < FEW_CASES:
        few = f"{counted(count, 'case')} {'is' if count == 1 else 'are'} few"
        parts.append(warning(f"{few}: another choice of cases may give quite other means."))
    return parts


def _groups_are_apart(run: Run) -> bool:
    """Whether the data set has groups of several cases, and none is on both sides: plans can be edited."""
    group_of = {case.name: case.group for case in run.dataset.cases}
    if len(set(group_of.values())) == len(group_of):
        return False
    training, validation = (
        {group_of[name] for name in names if name in group_of}
        for names in run.plan.training_and_validation(run.settings.fold)
    )
    return training.isdisjoint(validation)


# accuracy --------------------------------------------------------------------------------------------------------


def _accuracy(run: Run) -> list[Html]:
    if not run.metrics:
        return []
    parts = [accuracy_table(run.metrics), paragraph(METRICS_EXPLAINED)]
    title = f"{run.dataset.name}, fold {run.settings.fold}: {counted(len(run.metrics['cases']), 'validation case')}"
    if png := draw_dice(run.metrics["cases"], run.labels, title):
        with atomic_path(run.folder / DICE_PICTURE) as temporary:
            temporary.write_bytes(png)
        parts.append(picture(png, "The Dice of every validation case. The lowest of each structure is named."))
    return parts


def _cases(run: Run) -> list[Html]:
    if not run.metrics:
        return run.picture("overlay.png", "Patches of validation cases: image, reference, prediction.")
    dice = case_dice(run.metrics["cases"])
    examples = choose_examples(dice, find_predictions(run.folder / "validation", list(dice)))
    parts = []
    if examples:
        try:
            draw_cases(run.folder / CASES_PICTURE, examples, run.dataset, run.plan, run.labels, run.title)
            parts += run.picture(CASES_PICTURE, _shown(examples))
        except UserError as error:  # a file that was moved or changed since: the rest is still worth reading
            parts.append(warning(f"The cases are not shown: {error}"))
    title = "The case" if len(dice) == 1 else f"All {len(dice)} cases, the worst first"
    parts.append(folded(title, case_table(run.metrics)))
    return parts


def _shown(examples: Sequence[Example]) -> str:
    """The caption of the examples' picture."""
    if len(examples) == 1:
        return f"The case {examples[0].case}, at the slice that shows most of its reference."
    ranks = " and ".join((", ".join(example.rank for example in examples[:-1]), examples[-1].rank)).capitalize()
    return f"{ranks} case by mean Dice, each at the slice that shows most of its reference."


# how it came about -----------------------------------------------------------------------------------------------


def _training(run: Run) -> list[Html]:
    parts = run.picture("curves.png", "Loss and learning rate; Dice on patches of the validation cases.")
    if run.history:
        best, epochs = run.state.get("best_epoch"), len(run.history)
        if best and best > LATE * epochs:
            parts.append(
                paragraph(
                    f"The best epoch, {best}, is among the last of {epochs}: a longer training may do better "
                    f"(--resume --epochs {2 * epochs})."
                )
            )
        if speeds := [row["patches_per_second"] for row in run.history if row.get("patches_per_second")]:
            parts.append(paragraph(f"{median(speeds):.1f} patches per second (median of the epochs)."))
        if text := where_time_went(run.history):
            parts.append(paragraph(text))
    if run.settings.pretrained:
        parts.append(paragraph(f"It began with the weights of {run.settings.pretrained}."))
    return parts + run.picture("augmentation.png", "Training patches as they are, and as the network saw them.")


def _plan(run: Run) -> list[Html]:
    return [
        *map(warning, run.plan.warnings),
        table(("choice", "value", "reason"), plan_rows(run.plan)),
    ]


def _use(run: Run) -> list[Html]:
    there = {name for name in FILES if (run.folder / name).exists()} | ({METRICS} if run.metrics else set())
    present = [(name, what) for name, what in FILES.items() if name in there]
    bundle = run.folder / "bundle"
    parts = how_to_use(bundle, run.dataset) if bundle.exists() else []
    return [*parts, folded("What lies beside this page", table(("", ""), present))]


def how_to_use(bundle: Path, dataset: Dataset) -> list[Html]:
    """In 3D Slicer and on the command line."""
    files = len(dataset.cases[0].images)  # a colour picture is one
    names = ["SCAN"] if files == 1 else [f"CHANNEL{number}" for number in range(1, files + 1)]
    scan = " ".join(name + dataset.file_ending for name in names)
    return [
        paragraph("In 3D Slicer: module Dino U-Net, Model > ..., add the folder bundle. Without Slicer:"),
        code(f'python -m DinoUNetCore.segment -m "{bundle}" -i {scan} -o RESULT.seg.nrrd'),
    ]


def how_to_repeat(manifest: dict[str, Any]) -> list[Html]:
    """What a run's manifest says of its command, data, program and machine; nothing if it is {}."""
    if not manifest:
        return []
    session, data = manifest["sessions"][-1], manifest["data"]
    program, machine = session["program"], session["machine"]
    computer = f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gb']} GB"
    commit = f", commit {program['commit']}" if "commit" in program else ""
    changed = " with changes" if program.get("changed_since_commit") else ""
    size = sum(entry["bytes"] for entry in data["files"].values()) / 1e6
    packages = [f"{name} {version}" for name, version in session["packages"].items()]
    rows = [
        ("program", f"{program['name']} {program['version'] or ''}{commit}{changed}"),
        ("seed", manifest["seed"]),
        ("data", f"{counted(len(data['files']), 'file')} of {data['name']}, {size:,.0f} MB, SHA-256 {data['sha256']}"),
        ("plan", f"SHA-256 {manifest['plan_sha256']}"),
        ("machine", f"{machine['device']}; {computer}"),
        ("processes", machine["processes"]),
        ("system", f"{session['system']}, Python {session['python']}"),
        *_began_with(manifest.get("began_with") or {}),
        ("started", ", ".join(other["started"] for other in manifest["sessions"])),
    ]
    given = {name: value for name, value in manifest["settings"].items() if value is not None}
    return [
        code(" ".join(f'"{part}"' if " " in part else part for part in session["command"])),
        table((), [(name, str(value)) for name, value in rows]),
        folded("Settings", table((), [(name.replace("_", " "), str(value)) for name, value in given.items()])),
        folded(counted(len(packages), "installed package"), paragraph(", ".join(packages))),
    ]


def _began_with(record: dict[str, Any]) -> list[tuple[str, str]]:
    """Rows on the weights that were there at the start."""
    rows = []
    if bundle := record.get("bundle"):
        rows.append(("began with", f"{bundle['name']}, SHA-256 {bundle['weights_sha256']}"))
    if sha256 := record.get("backbone_sha256"):
        rows.append(("backbone", f"SHA-256 {sha256}"))
    return rows
