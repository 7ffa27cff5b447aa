"""Folds: every case is validated on once, and a patient's cases stay together."""

from collections import Counter

from equal_cases import make_cases

from DinoUNetCore.dataset.folds import make_folds


def test_every_case_is_validated_on_once_and_groups_stay_together():
    cases = make_cases(47, group=lambda number: str(number // 3))
    folds = make_folds(cases, seed=12345).validation
    assert Counter(name for fold in folds for name in fold) == Counter(case.name for case in cases)
    fold_of = {name: number for number, fold in enumerate(folds) for name in fold}
    for case in cases:
        assert fold_of[case.name] == fold_of[f"case_{int(case.group) * 3:02d}"]
    sizes = [len(fold) for fold in folds]
    assert len(folds) == 5 and max(sizes) - min(sizes) <= 3


def test_folds_depend_on_the_seed_only():
    cases = make_cases(20)
    assert make_folds(cases, 1).validation == make_folds(cases[::-1], 1).validation
    assert make_folds(cases, 1).validation != make_folds(cases, 2).validation


def test_fewer_groups_than_five_give_as_many_folds():
    folds = make_folds(make_cases(9, group=lambda number: "abc"[number % 3]), seed=0)
    assert [len(fold) for fold in folds.validation] == [3, 3, 3] and folds.warning is None


def test_one_group_is_split_by_case_with_a_warning():
    folds = make_folds(make_cases(4, group=lambda number: "patient"), seed=0)
    assert len(folds.validation) == 4 and "patient" in folds.warning
