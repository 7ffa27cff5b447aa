"""Cross-validation: every fold of one plan is trained, and what they say together becomes one model and one report.

    RUN/plan.json, fingerprint.json           of all folds
    RUN/fold_0/, fold_1/, ...                 a training each; see `trainer`
    RUN/crossval.json, crossval.png           every case as the network that had not seen it segments it
    RUN/cases.png, report.html                the best, median and worst case; all of it on one page
    RUN/bundle/                               the ensemble of the folds, with the postprocessing rule
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from DinoUNetCore.dataset.label_scheme import scheme_of
from DinoUNetCore.dataset.layout import Dataset, read_dataset
from DinoUNetCore.dataset.plan import Plan
from DinoUNetCore.dataset.preprocessing import remove_prepared
from DinoUNetCore.errors import UserError
from DinoUNetCore.files import write_json
from DinoUNetCore.metrics import summarise
from DinoUNetCore.training.bundling import with_metrics
from DinoUNetCore.training.case_overlays import case_dice, choose_examples, draw_cases, find_predictions
from DinoUNetCore.training.fold_picture import draw_folds
from DinoUNetCore.training.fold_report import write_fold_report
from DinoUNetCore.training.fold_runs import PLAN, fold_folder, open_folder, read_fold, told_how_to_measure_again
from DinoUNetCore.training.fold_summary import FoldResult, summarise_folds, text_table
from DinoUNetCore.training.postprocessing_rule import Rule, choose_rule, measure_largest_pieces
from DinoUNetCore.training.processes import joined
from DinoUNetCore.training.settings import Settings
from DinoUNetCore.weights.bundle import ModelBundle
from DinoUNetCore.weights.bundle_reading import load_bundle
from DinoUNetCore.weights.ensembling import ensemble

TrainFold = Callable[[dict[str, Any], Path], None]
"""Trains a fold with these settings into this folder, or goes on with it; plan and prepared cases are those of RUN."""
Progress = Callable[[int, int], None]


def cross_validate(
    given: Mapping[str, Any],
    folder: Path,
    resume: bool,
    train_fold: TrainFold,
    keep_largest: Callable[[np.ndarray], None],
    say: Callable[[str], None],
    progress: Progress | None = None,
) -> None:
    """Train all folds into RUN = `folder`, and summarise them; in all processes that torchrun has started.

    given: the settings that a user chose, without "fold". resume: go on with what RUN holds; folds that are finished
    stay as they are. keep_largest: clears all but the largest piece of every value of a label map in canonical slices.
    say: takes sentences. progress(done, total): in cases, while the postprocessing is tried.

    UserError for all that training refuses, for a data set of one case or a plan of one fold, and for a RUN that holds
    something else. Pictures and the page that cannot be made are told of as warnings: the model is there.
    """
    with joined() as processes:
        folds = processes.first_decides(lambda: open_folder(given, folder, resume))
        for note in folds.notes if processes.first else ():
            say(note)
        fold, count = 0, None
        while count is None or fold < count:
            if processes.first:
                say(f"Fold {fold}" + ("" if count is None else f" (of 0 to {count - 1})") + ":")
            train_fold(folds.settings(fold), fold_folder(folder, fold))
            count = processes.first_decides(lambda: len(Plan.load(folder / PLAN).folds))
            fold += 1
        processes.first_decides(lambda: _finish(given, folder, count, keep_largest, say, progress))


def _finish(
    given: Mapping[str, Any],
    folder: Path,
    count: int,
    keep_largest: Callable[[np.ndarray], None],
    say: Callable[[str], None],
    progress: Progress | None,
) -> None:
    """From trained folds to the model and the report."""
    settings, plan = Settings.load(fold_folder(folder, 0) / "settings.json"), Plan.load(folder / PLAN)
    dataset, labels = read_dataset(settings.dataset, settings.groups), scheme_of(plan).described
    results = [read_fold(folder, fold) for fold in range(count)]
    predictions = {}
    for result in results:
        predictions |= find_predictions(fold_folder(folder, result.number) / "validation", list(result.cases))
    rule, results = _with_rule(results, predictions, dataset, plan, settings, keep_largest, progress)
    summary = {
        "data_set": plan.dataset,
        "variant": settings.variant,
        **summarise_folds(results, plan.unit),
        "postprocessing": rule.to_json(),
    }
    name = given.get("name") or settings.name or f"{plan.dataset}-{settings.variant}-ensemble"
    _make_bundle(folder, name, results, rule, plan).save(folder / "bundle", overwrite=True)
    write_json(folder / "crossval.json", summary)

    title = f"{plan.dataset}, {settings.variant}: cross-validation in {count} folds"
    cases = {name: case for result in results for name, case in result.cases.items()}
    examples = choose_examples(case_dice(cases), predictions)
    for draw in (
        lambda: draw_folds(folder / "crossval.png", summary, labels, title),
        lambda: examples and draw_cases(folder / "cases.png", examples, dataset, plan, labels, title),
        lambda: write_fold_report(
            folder / "report.html", summary, dataset, plan, title=title, pictures=_captioned(folder)
        ),
    ):
        try:
            draw()
        except UserError as error:
            say(f"warning: {error}")  # the model is there
    prepared = folder / "prepared"
    if prepared.exists() and not (given.get("keep_prepared") or settings.keep_prepared):
        remove_prepared(prepared)
    say(
        f"{text_table(summary)}\n(± standard deviation over the {count} folds)\n{_in_words(rule)}The model, the "
        f"ensemble of the folds, is {folder / 'bundle'}; all numbers and pictures are in {folder / 'report.html'}."
    )


def _captioned(folder: Path) -> list[tuple[Path, str]]:
    return [
        (folder / "crossval.png", "Every case as a dot, its structure by colour and its fold by shape; boxes: the "
         "quartiles of all cases, from the 5th to the 95th percentile the lines; bars: the folds' means."),
        (folder / "cases.png", "The best, the median and the worst case: image, reference, and all that the network "
         "found that had not seen the case."),
    ]  # fmt: skip


def _in_words(rule: Rule) -> str:
    if not rule.tried:
        return "No postprocessing was tried: the structures are regions, which overlap.\n"
    return f"Only the largest piece is kept of: {', '.join(rule.keep_largest)}.\n" if rule.keep_largest else ""


def _with_rule(
    results: Sequence[FoldResult],
    predictions: Mapping[str, Path],
    dataset: Dataset,
    plan: Plan,
    settings: Settings,
    keep_largest: Callable[[np.ndarray], None],
    progress: Progress | None,
) -> tuple[Rule, list[FoldResult]]:
    """The rule that helps over all cases, and the folds' results with it."""
    if plan.regions is not None:  # a value is only a part of a region, and its largest piece is that of no structure
        return Rule([], {}), list(results)
    measured = {name: case for result in results for name, case in result.cases.items()}
    largest = measure_largest_pieces(
        measured,
        predictions,
        dataset,
        plan,
        keep_largest,
        resample_channels=settings.resample_channels,
        progress=progress,
    )
    rule = choose_rule(measured, largest)
    after = rule.applied(measured, largest)
    return rule, [replace(result, cases={name: after[name] for name in result.cases}) for result in results]


def _make_bundle(
    folder: Path, name: str, results: Sequence[FoldResult], rule: Rule, plan: Plan
) -> ModelBundle:
    """The ensemble of the folds, with what was measured and what is done after it."""
    facts = [result.facts for result in results]
    of_folds = ("fold", "training_cases", "validation_cases", "best_epoch", "minutes", "validated_on_training_cases")
    common = {
        key: value
        for key, value in facts[0].items()
        if key not in of_folds and all(other.get(key) == value for other in facts)
    }
    training = common | {
        "cases": sum(len(result.cases) for result in results),
        "folds": len(results),
        "minutes": round(sum(one.get("minutes", 0.0) for one in facts), 1),
    }
    members = []
    for result in results:
        run = fold_folder(folder, result.number)
        with told_how_to_measure_again(run):
            members.append(load_bundle(run / "bundle"))
    bundle = ensemble(members, name, training=training)
    config = {**bundle.config, "postprocessing": {"keep_largest": rule.keep_largest}}
    cases = {case: measures for result in results for case, measures in result.cases.items()}
    return with_metrics(replace(bundle, config=config), summarise(cases, plan.unit))
