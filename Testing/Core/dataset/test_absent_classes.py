"""Classes that a fold lacks, on sets whose label values are not consecutive."""

from dataclasses import replace

import pytest
from equal_cases import make_set

from DinoUNetCore.dataset.absent_classes import absent_classes
from DinoUNetCore.dataset.plan import make_plan

LABELS = {"background": 0, "liver": 3, "spleen": 7, "lesion": 40}


def set_with(holders):
    """Ten cases, in which the named labels are held by the named cases (by number) only."""
    dataset, fingerprint = make_set(labels=LABELS)
    for name, case in list(fingerprint.cases.items()):
        voxels = {label: 9 * (label not in holders or int(name[-2:]) in holders[label]) for label in LABELS}
        fingerprint.cases[name] = replace(case, label_voxels=voxels)
    return dataset, fingerprint


def warnings_of(holders):
    return make_plan(*set_with(holders), "tiny").warnings


def fold_of(case):
    folds = make_plan(*make_set(), "tiny").folds
    return next(number for number, fold in enumerate(folds) if f"case_{case:02d}" in fold)


def test_classes_that_every_fold_holds_need_no_warning():
    assert warnings_of({}) == []


def test_a_class_that_no_case_holds_is_told_once():
    assert warnings_of({"spleen": []}) == ["The label 'spleen' is in no case, so the model will not learn it."]


def test_a_class_that_one_case_holds_cannot_be_trained_with_it_nor_validated_without():
    fold = fold_of(4)
    a, b, c, d = (number for number in range(5) if number != fold)
    assert warnings_of({"lesion": [4]}) == [
        f"The label 'lesion' is in no training case of fold {fold}, so the model of that fold will not learn it.",
        f"The label 'lesion' is in no validation case of the folds {a}, {b}, {c} and {d}, "
        "so there is no accuracy of it for those folds.",
    ]


def test_labels_with_the_same_folds_share_a_sentence():
    told = warnings_of({"lesion": [4], "spleen": [4]})
    assert len(told) == 2 and all("'spleen', 'lesion' are" in text for text in told)


def test_many_labels_are_not_all_listed():
    names = {"background": 0, **{f"rib {number}": 10 * number for number in range(1, 12)}}
    cases = {"a": make_set(labels=names)[1].cases["case_00"]}
    cases["a"] = replace(cases["a"], label_voxels=dict.fromkeys(names, 0))
    (told,) = absent_classes([["a"]], names, cases)
    assert told.count("rib") == 8 and "and 3 more are in no case" in told


def test_one_fold_trains_on_what_it_validates_on():
    dataset, fingerprint = make_set(cases=1, labels=LABELS)
    assert absent_classes([["case_00"]], dataset.labels, fingerprint.cases) == []


@pytest.mark.parametrize("holders", [{}, {"lesion": [4]}])
def test_edited_folds_are_looked_at_again(holders):
    dataset, fingerprint = set_with(holders)
    plan = make_plan(dataset, fingerprint, "tiny")
    assert plan.check_against(dataset, fingerprint) == []  # what the plan warns of is not told twice
    others = [name for name in fingerprint.cases if name != "case_04"]
    plan.folds = [others[:5], others[5:], ["case_04"]]
    told = plan.check_against(dataset, fingerprint)
    assert any("no training case of fold 2" in text for text in told) == bool(holders)
