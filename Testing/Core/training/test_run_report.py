"""The page about a run, from a folder as a training leaves it."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from small_dataset import write_small_dataset

from DinoUNetCore.dataset.fingerprint import make_fingerprint
from DinoUNetCore.dataset.label_scheme import scheme_of
from DinoUNetCore.dataset.layout import read_dataset
from DinoUNetCore.dataset.plan import make_plan
from DinoUNetCore.files import write_json
from DinoUNetCore.metrics import evaluate_case, summarise
from DinoUNetCore.training.dice_plot import draw_dice
from DinoUNetCore.training.manifest import write_manifest
from DinoUNetCore.training.report import draw_curves
from DinoUNetCore.training.run_report import write_report
from DinoUNetCore.training.settings import Settings
from DinoUNetCore.training.stopwatch import LEARNING, WAITING


def history(epochs: int) -> list[dict]:
    return [
        {
            "epoch": epoch, "loss": 1 / epoch, "mean_dice": 0.5, "dice": [0.5, 0.5], "learning_rate": 0.01,
            "seconds": 60.0, "patches_per_second": 30.0 + epoch, "stages": {LEARNING: 50.0, WAITING: 2.0},
        }
        for epoch in range(1, epochs + 1)
    ]  # fmt: skip


def make_run(folder: Path, cases: int = 5, size=(6, 40, 48), labels=None, best: int = 4):
    """A finished run: the predictions are the references moved by 0, 1, 2, ... columns."""
    dataset = read_dataset(write_small_dataset(folder / "data", cases, size=size, labels=labels))
    plan = make_plan(dataset, make_fingerprint(dataset), "tiny")
    plan.folds = [["case_0", "case_1", "case_2"], ["case_3", "case_4"]] if cases == 5 else [["case_0"]]
    run, scheme = folder / "run", scheme_of(plan)
    (run / "validation").mkdir(parents=True)
    settings = Settings(str(dataset.folder), variant="tiny")
    settings.save(run / "settings.json")
    plan.save(run / "plan.json")
    measured = {}
    for number, case in enumerate(dataset.cases[: len(plan.folds[0])]):
        label = sitk.ReadImage(str(case.label))
        truth = sitk.GetArrayFromImage(label)
        predicted = np.roll(truth, 2 * number, axis=-1)
        image = sitk.GetImageFromArray(predicted)
        image.CopyInformation(label)
        sitk.WriteImage(image, str(run / "validation" / case.label.name))
        measured[case.name] = evaluate_case(predicted, truth, label.GetSpacing()[::-1], scheme.structures)
    write_json(run / "metrics.json", summarise(measured, plan.unit))
    write_json(run / "checkpoints" / "last.json", {"history": history(5), "best_epoch": best})
    draw_curves(run / "curves.png", history(5), scheme.described, "Balls")
    write_manifest(run / "manifest.json", settings, dataset, plan, torch.device("cpu"))
    return run, dataset, plan, scheme.described


def report(run, dataset, plan, labels) -> str:
    return write_report(run, dataset, plan, labels).read_text(encoding="utf-8")


def without_pictures(text: str) -> str:
    return re.sub(r"data:image/png;base64,[^\"]+", "PNG", text)


def test_the_page_says_what_was_measured_on_what_and_what_was_chosen_on_it(tmp_path):
    text = without_pictures(report(*make_run(tmp_path)))
    assert "the 3 validation cases of fold 0, which the network was not trained on" in text
    assert "epoch 4 of 5, chosen by their Dice on patches of these same cases" in text
    assert "3 cases are few" in text and "validation cases, unseen in training" in text
    assert "Best, median and worst case by mean Dice" in text and "All 3 cases, the worst first" in text
    assert "group (patient)" not in text  # each case is one


def test_groups_are_said_to_be_apart_only_where_they_are(tmp_path):
    run, dataset, plan, labels = make_run(tmp_path)

    def said(groups: str) -> bool:
        grouped = zip(dataset.cases, groups, strict=True)
        cases = [replace(case, group=group) for case, group in grouped]
        text = report(run, replace(dataset, cases=cases), plan, labels)
        return "cases of one group (patient) are never on both sides" in text

    assert said("aabcc") and not said("aabac")


def test_one_case_is_no_plural(tmp_path):
    run, dataset, plan, labels = make_run(tmp_path)
    plan.folds = [["case_0"], ["case_1"]]
    text = without_pictures(report(run, dataset, plan, labels))
    assert "the one validation case of fold 0, which the network was not trained on" in text
    assert "1 case is few" in text and "<b>1</b><span>training case</span>" in text


def test_two_examples_have_no_median(tmp_path):
    run, dataset, plan, labels = make_run(tmp_path)
    (run / "validation" / "case_1.nii.gz").unlink()
    assert "Best and worst case by mean Dice, each" in report(run, dataset, plan, labels)


def test_it_shows_accuracy_cases_training_plan_and_how_to_repeat(tmp_path):
    made = make_run(tmp_path)
    text = without_pictures(report(*made))
    for heading in ("Accuracy", "Cases", "Training", "Plan", "To use the model", "To repeat the run"):
        assert f"<h2>{heading}</h2>" in text
    metrics = json.loads((made[0] / "metrics.json").read_text(encoding="utf-8"))
    assert f"{metrics['labels']['ball']['dice']:.3f} ±" in text
    assert text.count('src="PNG"') == 3  # Dice of the cases, examples, curves
    assert (made[0] / "dice.png").is_file() and (made[0] / "cases.png").is_file()
    assert "34.0 patches per second" not in text and "33.0 patches per second" in text
    assert f"{LEARNING} 96 %" in text and "The median spacing" in text
    files = json.loads((made[0] / "manifest.json").read_text(encoding="utf-8"))["data"]
    assert files["sha256"] in text and "11 files of Balls" in text


def test_a_best_epoch_at_the_end_asks_for_a_longer_training(tmp_path):
    assert "a longer training may do better (--resume --epochs 10)" in report(*make_run(tmp_path / "a", best=5))
    assert "a longer training" not in report(*make_run(tmp_path / "b", best=2))


def test_validating_on_training_cases_is_a_warning(tmp_path):
    text = without_pictures(report(*make_run(tmp_path, cases=1)))
    assert '<p class="warning">The cases that were measured are the training cases' in text
    assert "which the network was not trained on" not in text and "validation case, seen in training too" in text
    assert "<summary>The case</summary>" in text
    assert "The case case_0, at the slice that shows most of its reference." in text


def test_missing_parts_are_left_out(tmp_path):
    run, dataset, plan, labels = make_run(tmp_path)
    for name in ("metrics.json", "manifest.json", "curves.png", "checkpoints/last.json"):
        (run / name).unlink()
    text = report(run, dataset, plan, labels)
    assert "Nothing has been measured on whole images yet" in text and "<h2>Plan</h2>" in text
    assert not any(f"<h2>{heading}</h2>" in text for heading in ("Accuracy", "Training", "To repeat the run"))


def test_a_case_that_cannot_be_shown_leaves_the_rest(tmp_path):
    run, dataset, plan, labels = make_run(tmp_path)
    dataset.cases[0].images[0].unlink()
    text = without_pictures(report(run, dataset, plan, labels))
    assert "The cases are not shown: " in text and "case_0_0000.nii.gz" in text and "<h2>Plan</h2>" in text


@pytest.mark.parametrize("size", [(6, 40, 48), (40, 48)], ids=["volumes", "pictures"])
def test_the_command_names_files_of_the_data_sets_kind(tmp_path, size):
    run, dataset, plan, labels = make_run(tmp_path, size=size)
    (run / "bundle").mkdir()
    text = report(run, dataset, plan, labels)
    assert f"-i SCAN{dataset.file_ending} -o RESULT" in text


def test_names_that_look_like_html_are_shown_as_they_are(tmp_path):
    text = report(*make_run(tmp_path, labels={"background": 0, "<b>ball": 1, "a & b": 2}))
    assert "&lt;b&gt;ball" in text and "a &amp; b" in text and "<b>ball" not in text


def test_the_dice_picture_is_always_the_same_and_needs_something_measured():
    nothing = {"case": {"ball": {"dice": None}}}
    labels = scheme_of(_Labels()).described
    assert draw_dice(nothing, labels, "title") is None
    cases = {f"case_{i}": {"ball": {"dice": 0.9 - i / 20}} for i in range(6)}
    assert draw_dice(cases, labels, "title $x$") == draw_dice(cases, labels, "title $x$")


class _Labels:
    labels, regions, ignore = {"background": 0, "ball": 1}, None, None
