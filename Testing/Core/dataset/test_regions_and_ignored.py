"""Region-based data sets and ignored voxels, from dataset.json to the prepared cases."""

import json
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from region_dataset import IGNORED_COLUMNS, write_region_dataset

from DinoUNetCore.dataset.absent_classes import absent_classes
from DinoUNetCore.dataset.fingerprint import make_fingerprint
from DinoUNetCore.dataset.label_scheme import scheme_of
from DinoUNetCore.dataset.layout import check_case, read_dataset
from DinoUNetCore.dataset.plan import Plan, make_plan
from DinoUNetCore.dataset.preprocessing import prepare_cases
from DinoUNetCore.dataset.slices import TrainingSlices
from DinoUNetCore.errors import UserError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_region_dataset(tmp_path_factory.mktemp("data") / "cores")


@pytest.fixture(scope="module")
def dataset(folder):
    return read_dataset(folder)


@pytest.fixture(scope="module")
def fingerprint(dataset):
    return make_fingerprint(dataset)


@pytest.fixture(scope="module")
def plan(dataset, fingerprint):
    return make_plan(dataset, fingerprint, "tiny")


def labels_of(dataset, number=0):
    return sitk.GetArrayFromImage(sitk.ReadImage(str(dataset.cases[number].label)))


def test_the_data_set_says_what_is_written_and_what_is_ignored(dataset):
    assert dataset.labels == {"background": 0, "whole": 1, "core": 2}
    assert (dataset.regions, dataset.ignore) == ({"whole": [1, 2], "core": [2]}, 3)
    check_case(dataset.cases[0], dataset)


def test_values_that_no_region_holds_are_refused(folder, dataset):
    with pytest.raises(UserError, match=r"label value\(s\) 3, which dataset\.json does not name"):
        check_case(dataset.cases[0], replace(dataset, ignore=None))


def test_regions_are_counted_with_all_their_values_and_ignored_voxels_not_at_all(dataset, fingerprint):
    array = labels_of(dataset)
    counts = fingerprint.cases["case_0"].label_voxels
    assert counts == {
        "background": (array == 0).sum(),
        "whole": np.isin(array, (1, 2)).sum(),
        "core": (array == 2).sum(),
    }
    assert counts["whole"] > counts["core"] > 0
    assert fingerprint.channels[0].foreground_low > 90  # the background has 40
    assert fingerprint.channels[0].foreground_high < 230


def test_data_of_which_nothing_is_labelled_but_ignored_voxels_are_refused(tmp_path):
    folder = write_region_dataset(tmp_path / "set", cases=1)
    path = folder / "labelsTr" / "case_0.nii.gz"
    sitk.WriteImage(3 * sitk.Cast(sitk.ReadImage(str(path)) == 3, sitk.sitkUInt8), str(path))
    with pytest.raises(UserError, match="holds a labelled voxel"):
        make_fingerprint(read_dataset(folder))


def test_a_region_that_a_fold_lacks_is_told_by_name(dataset, fingerprint):
    cases = dict(fingerprint.cases)
    cases["case_1"] = replace(cases["case_1"], label_voxels=cases["case_1"].label_voxels | {"core": 0})
    sentences = absent_classes([["case_0"], ["case_1"], ["case_2"]], dataset.labels, cases)
    assert sentences == [
        "the label 'core' is in no validation case of fold 1, so there is no accuracy of it for that fold."
    ]


def test_a_plan_keeps_regions_in_their_order_and_the_ignored_value(plan, tmp_path):
    plan.save(tmp_path / "plan.json")
    again = Plan.load(tmp_path / "plan.json")
    assert again == plan and list(again.regions) == ["whole", "core"] and again.ignore == 3
    assert scheme_of(again).outputs == 2


def test_plans_from_before_regions_have_none(plan):
    table = plan.to_json()
    del table["regions"], table["ignore"]
    again = Plan.from_json(table)
    assert again.regions is None and again.ignore is None


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"regions": {"whole": [1, 2], "rim": [2]}}, "regions and labels in the plan name different structures"),
        ({"regions": {"whole": [2], "core": [2]}}, "write 1 for the region 'whole', which is not among its values"),
        ({"regions": {"whole": [0, 1], "core": [2]}}, "regions in the plan must be null, or"),
        ({"regions": {"whole": [1, 1], "core": [2]}}, "regions in the plan must be null, or"),
        ({"regions": {}}, "regions in the plan must be null, or"),
        ({"ignore": 2}, "ignore in the plan is 2, but must be above all other values; 2 is one"),
        ({"ignore": "3"}, "ignore in the plan must be null, or"),
    ],
)
def test_a_plan_edited_wrongly_is_refused(plan, change, sentence):
    with pytest.raises(UserError, match=sentence):
        Plan.from_json(plan.to_json() | change)


@pytest.mark.parametrize(
    "change", [{"regions": None}, {"ignore": None}, {"regions": {"core": [2], "whole": [1, 2]}}, {"ignore": 4}]
)
def test_a_plan_for_other_regions_is_refused(plan, dataset, change):
    with pytest.raises(UserError, match=r"the plan is for the labels whole \[1, 2\], core \[2\], ignore 3"):
        plan.check_against(replace(dataset, **change))


def test_prepared_cases_hold_class_indices_and_forced_patches_never_aim_at_ignored_pixels(dataset, plan, tmp_path):
    cases = [case for planes in prepare_cases(dataset, plan, tmp_path / "prepared").values() for case in planes]
    case = next(case for case in cases if case.name == "case_0")
    assert np.array_equal(np.unique(case.labels()), [0, 1, 2, 3])
    assert (np.asarray(case.labels())[..., 0] == scheme_of(plan).ignore_index).all()
    assert set(case.slices_with) == {0, 1, 2}
    samples = TrainingSlices([case], (8, 8), 1, None, seed=0)
    for number in range(2, 90, 3):
        assert (samples[(0, number)][1].numpy() % 3 > 0).any()  # 1 or 2: neither background nor ignored


def test_no_patch_is_taken_from_slices_that_are_ignored_as_a_whole(dataset, plan, tmp_path):
    case = prepare_cases(dataset, plan, tmp_path / "prepared")["case_0"][0]
    sparse = replace(case, slices_with={0: [2, 4], 1: [4], 2: []})
    assert sparse.judged_slices == [2, 4] and case.judged_slices == list(range(6))
    samples = TrainingSlices([sparse], case.shape[1:], 1, None, seed=0)
    image = case.images().astype(np.float32)
    for number in range(30):
        taken = samples[(0, number)][0][0].numpy()
        assert any(np.array_equal(taken, image[index, 0]) for index in (2, 4))


def test_ignored_borders_stay_where_they_are_when_slices_are_resampled(dataset, plan, tmp_path):
    finer = replace(plan, spacing=[0.5, 0.5])
    case = prepare_cases(dataset, finer, tmp_path / "prepared")["case_0"][0]
    ignored = np.asarray(case.labels()) == 3
    assert ignored[..., : 2 * IGNORED_COLUMNS - 1].all() and not ignored[..., 2 * IGNORED_COLUMNS + 1 :].any()


def test_other_regions_prepare_the_cases_anew(dataset, plan, tmp_path):
    prepare_cases(dataset, plan, tmp_path / "prepared")
    key = json.loads((tmp_path / "prepared" / "prepared.json").read_text(encoding="utf-8"))["key"]
    other = {"whole": [1, 2, 5], "core": [2]}
    prepare_cases(replace(dataset, regions=other), replace(plan, regions=other, ignore=9), tmp_path / "prepared")
    assert json.loads((tmp_path / "prepared" / "prepared.json").read_text(encoding="utf-8"))["key"] != key
