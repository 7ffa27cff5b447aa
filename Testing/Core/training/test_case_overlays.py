from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from small_dataset import write_small_dataset

from DinoUNetCore.dataset.fingerprint import make_fingerprint
from DinoUNetCore.dataset.layout import read_dataset
from DinoUNetCore.dataset.plan import make_plan
from DinoUNetCore.errors import UserError
from DinoUNetCore.training import case_overlays
from DinoUNetCore.training.case_overlays import (
    Example,
    as_written,
    case_dice,
    choose_examples,
    draw_cases,
    find_predictions,
    telling_slice,
)
from DinoUNetCore.volume.labels import default_labels


@pytest.fixture(params=[(6, 40, 48), (40, 48)], ids=["volumes", "pictures"])
def trained(request, tmp_path):
    """A data set, its plan, and predictions that are the references moved by 0, 1, 2, ... columns."""
    dataset = read_dataset(write_small_dataset(tmp_path / "data", 4, size=request.param))
    (tmp_path / "validation").mkdir()
    for number, case in enumerate(dataset.cases):
        label = sitk.ReadImage(str(case.label))
        moved = sitk.GetImageFromArray(np.roll(sitk.GetArrayFromImage(label), number, axis=-1))
        moved.CopyInformation(label)
        sitk.WriteImage(moved, str(tmp_path / "validation" / case.label.name))
    plan = make_plan(dataset, make_fingerprint(dataset), "tiny")
    return tmp_path, dataset, plan


def test_the_best_the_median_and_the_worst_case_are_drawn(trained):
    folder, dataset, plan = trained
    predictions = find_predictions(folder / "validation", [case.name for case in dataset.cases])
    examples = choose_examples({f"case_{i}": 1 - i / 10 for i in range(4)}, predictions)
    assert [(e.rank, e.case) for e in examples] == [("best", "case_0"), ("median", "case_1"), ("worst", "case_3")]
    draw_cases(folder / "cases.png", examples, dataset, plan, default_labels(plan.labels), "Balls, fold 0")
    width, height = sitk.ReadImage(str(folder / "cases.png")).GetSize()
    assert width > 1000 and height > 1000


def test_a_prediction_of_another_size_is_refused_by_name(trained):
    folder, dataset, plan = trained
    predictions = find_predictions(folder / "validation", ["case_0"])
    path = predictions["case_0"]
    sitk.WriteImage(sitk.ReadImage(str(path))[1:], str(path))
    examples = choose_examples({"case_0": 1.0}, predictions)
    with pytest.raises(UserError, match=r"validation.case_0.*another size"):
        draw_cases(folder / "cases.png", examples, dataset, plan, default_labels(plan.labels), "")


def test_few_cases_are_shown_once_each(tmp_path):
    paths = {name: tmp_path / name for name in "abc"}
    ranks = {n: [(e.rank, e.case) for e in choose_examples(dict.fromkeys("abc"[:n], 0.5), paths)] for n in (0, 1, 2)}
    assert ranks == {0: [], 1: [("only", "a")], 2: [("best", "a"), ("worst", "b")]}


def test_cases_without_a_dice_or_a_prediction_are_no_examples(tmp_path):
    chosen = choose_examples({"a": None, "b": 0.2, "c": 0.9}, {"a": tmp_path, "b": tmp_path})
    assert [example.case for example in chosen] == ["b"]
    assert find_predictions(tmp_path, ["a"]) == {}


def test_the_dice_of_a_case_is_the_mean_of_what_was_measured():
    cases = {"a": {"x": {"dice": 0.5}, "y": {"dice": 1.0}, "z": {"dice": None}}, "b": {"x": {"dice": None}}}
    assert case_dice(cases) == {"a": 0.75, "b": None}


def test_small_structures_count_as_much_as_large_ones_where_a_slice_is_chosen():
    labels = np.zeros((5, 8, 8), np.uint8)
    labels[1:4] = 1
    labels[3, 2, 2] = 2
    assert telling_slice(labels) == 3
    assert telling_slice(np.zeros((5, 8, 8))) == 2


def test_ignored_voxels_do_not_decide_which_slice_is_shown(tmp_path, monkeypatch):
    dataset = read_dataset(write_small_dataset(tmp_path / "data", 4))
    plan = replace(make_plan(dataset, make_fingerprint(dataset), "tiny"), planes=["axial"], ignore=9)
    case, rows = dataset.cases[0], []
    truth = np.zeros((6, 40, 48), np.uint8)
    truth[1, 10:12, 10:12], truth[2, 10, 10] = 1, 1
    truth[4] = 9  # one slice holds all of it
    label = sitk.GetImageFromArray(truth)
    label.CopyInformation(sitk.ReadImage(str(case.label)))
    sitk.WriteImage(label, str(case.label))
    monkeypatch.setattr(case_overlays, "save_overlay", lambda path, drawn, *rest: rows.extend(drawn))
    draw_cases(tmp_path / "cases.png", [Example("only", case.name, 0.5, case.label)], dataset, plan, [], "")
    assert "axial slice 2 of 6" in rows[0].title


def test_overlapping_regions_are_shown_as_they_are_written(trained):
    _, _, plan = trained
    names = {"background": 0, "whole": 1, "core": 2}
    plan = replace(plan, labels=names, regions={"whole": [1, 2], "core": [2]}, ignore=3)
    assert as_written(np.array([[0, 1, 2, 3]], np.uint8), plan).tolist() == [[0, 1, 2, 3]]
    plan = replace(plan, regions={"whole": [1, 2], "core": [1]})
    assert as_written(np.array([[0, 1, 2, 3]], np.uint8), plan).tolist() == [[0, 2, 1, 3]]
