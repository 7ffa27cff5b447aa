"""Plans as files, with their folds, against their data set, and of real sets."""

from pathlib import Path

import pytest
from equal_cases import ORGANS, make_cases, make_set, plan_for

from DinoUNetCore.dataset.fingerprint import make_fingerprint
from DinoUNetCore.dataset.layout import Dataset, read_dataset
from DinoUNetCore.dataset.plan import Plan, make_plan
from DinoUNetCore.errors import UserError


def test_saving_and_loading_changes_nothing(tmp_path):
    plan = plan_for(channels=("CT",))
    plan.save(tmp_path / "plan.json")
    assert Plan.load(tmp_path / "plan.json") == plan


def test_the_file_is_short_and_gives_a_reason_for_every_choice(tmp_path):
    plan = plan_for(cases=50)
    plan.save(tmp_path / "plan.json")
    lines = (tmp_path / "plan.json").read_text(encoding="utf-8").splitlines()
    assert len(lines) < 50
    assert any(line.count("case_") == 10 for line in lines)  # a fold stands on one line
    chosen = {
        *("dimension", "planes", "unit", "spacing", "patch_size", "batch_size", "context_slices", "normalization"),
        *("mirror", "intensity_range", "spacing_range", "folds"),
    }
    assert set(plan.reasons) == chosen
    assert all(text.endswith(".") for text in plan.reasons.values())


def test_a_single_case_trains_and_validates_on_itself_with_a_warning():
    plan = plan_for(cases=1)
    assert plan.training_and_validation(0) == (["case_00"], ["case_00"])
    assert plan.validates_on_training_cases
    assert "case_00" in plan.warnings[0]


def test_training_and_validation_share_no_case():
    plan = plan_for(cases=11)
    for fold in range(5):
        training, validation = plan.training_and_validation(fold)
        assert set(training).isdisjoint(validation) and len(training) + len(validation) == 11
    assert not plan.validates_on_training_cases
    with pytest.raises(UserError, match="no fold 5; the plan has the folds 0 to 4"):
        plan.training_and_validation(5)


# the plan and its data set --------------------------------------------------------------------------------------------


def test_a_plan_fits_the_set_it_was_made_for():
    dataset, fingerprint = make_set()
    assert make_plan(dataset, fingerprint, "tiny").check_against(dataset) == []


def test_a_plan_for_other_channels_labels_or_cases_is_refused():
    dataset, fingerprint = make_set()
    plan = make_plan(dataset, fingerprint, "tiny")
    for other, sentence in (
        (make_set(channels=("CT",))[0], "the plan is for the channels MR"),
        (make_set(labels={"background": 0, "liver": 2, "spleen": 1})[0], "the plan is for the labels"),
        (make_set(cases=9)[0], "name the case 'case_09', which"),
    ):
        with pytest.raises(UserError, match=sentence):
            plan.check_against(other)


def test_cases_left_out_and_groups_torn_apart_are_told():
    dataset, fingerprint = make_set()
    plan = make_plan(dataset, fingerprint, "tiny")
    plan.folds = [["case_00"], ["case_01"]]
    (note,) = plan.check_against(dataset)
    assert "8 case(s) are in no fold" in note
    paired = Dataset(Path("D"), "D", ["MR"], ORGANS, ".nrrd", make_cases(2, group=lambda number: "patient"))
    (note,) = plan.check_against(paired)
    assert "patient" in note and "several folds" in note


# real sets ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "Dataset511_TotalSegCT",
            {"planes": ["axial"], "patch_size": [128, 128], "context_slices": 3, "mirror": [], "dimension": 3},
        ),
        (
            "Dataset522_CHASEDB1",
            {"patch_size": [256, 256], "context_slices": 1, "mirror": ["rows", "columns"], "dimension": 2},
        ),
        ("Dataset523_CXRLungs", {"patch_size": [256, 256], "mirror": ["rows"], "dimension": 2, "unit": "pixel"}),
    ],
)
def test_plans_of_real_sets(shared, name, expected):
    dataset = read_dataset(shared / "data" / name)
    plan = make_plan(dataset, make_fingerprint(dataset), "tiny")
    assert {field: getattr(plan, field) for field in expected} == expected
    assert plan.check_against(dataset) == []


def test_the_hippocampus_plan_keeps_subjects_together_and_front_and_back_apart(shared):
    dataset = read_dataset(shared / "data" / "Dataset004_Hippocampus")
    plan = make_plan(dataset, make_fingerprint(dataset), "tiny")
    assert (plan.spacing, plan.patch_size, plan.mirror) == ([0.520833, 0.520833], [96, 96], ["columns"])
    group_of = {case.name: case.group for case in dataset.cases}
    for fold in range(5):
        training, validation = plan.training_and_validation(fold)
        assert {group_of[name] for name in training}.isdisjoint(group_of[name] for name in validation)
