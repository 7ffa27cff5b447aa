"""What may lie in the folder of a cross-validation, and what is done with folds that have begun."""

from dataclasses import replace
from pathlib import Path

import pytest
from small_dataset import write_small_dataset

from DinoUNetCore.dataset.fingerprint import make_fingerprint
from DinoUNetCore.dataset.layout import read_dataset
from DinoUNetCore.dataset.plan import make_plan
from DinoUNetCore.errors import UserError
from DinoUNetCore.training.fold_runs import open_folder, read_fold
from DinoUNetCore.training.settings import Settings


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_small_dataset(tmp_path_factory.mktemp("data") / "balls", cases=4)


@pytest.fixture(scope="module")
def plan(dataset):
    found = read_dataset(dataset)
    return make_plan(found, make_fingerprint(found), "tiny")


def begin(run: Path, dataset, plan, fold, **changes):
    Settings.from_dict({"dataset": str(dataset), "variant": "tiny", "epochs": 3, "fold": fold, **changes}).save(
        run / f"fold_{fold}" / "settings.json"
    )
    plan.save(run / f"fold_{fold}" / "plan.json")


def test_without_folds_all_are_trained_as_was_chosen(dataset, tmp_path):
    given = {"dataset": str(dataset), "epochs": 7}
    folds = open_folder(given, tmp_path / "run", False)
    assert folds.settings(0) == given | {"fold": 0} and folds.settings(2) == given | {"fold": 2}
    assert not (tmp_path / "run").exists()


def test_folds_that_have_begun_keep_their_settings_and_give_them_to_the_others(dataset, plan, tmp_path):
    begin(tmp_path, dataset, plan, 1, learning_rate=0.5, device="cpu")
    folds = open_folder({"dataset": str(dataset), "name": "mine", "threads": 1}, tmp_path, True)
    assert folds.settings(1) == {"dataset": str(dataset), "threads": 1, "fold": 1}
    others = Settings.from_dict(folds.settings(0))
    assert (others.fold, others.epochs, others.learning_rate, others.name, others.threads) == (0, 3, 0.5, "mine", 1)
    assert (tmp_path / "plan.json").read_bytes() == (tmp_path / "fold_1" / "plan.json").read_bytes()


def test_more_epochs_are_for_all_folds(dataset, plan, tmp_path):
    begin(tmp_path, dataset, plan, 0)
    begin(tmp_path, dataset, plan, 2, epochs=5)
    folds = open_folder({"dataset": str(dataset), "epochs": 9}, tmp_path, True)
    assert {folds.settings(fold)["epochs"] for fold in range(3)} == {9}


def test_folds_of_other_lengths_all_become_as_long_as_the_longest(dataset, plan, tmp_path):
    begin(tmp_path, dataset, plan, 0, epochs=9)
    begin(tmp_path, dataset, plan, 2)
    begin(tmp_path, dataset, plan, 3, epochs=None, minutes=2.0)
    folds = open_folder({"dataset": str(dataset)}, tmp_path, True)
    lengths = {}
    for fold in (0, 2, 3):
        path = tmp_path / f"fold_{fold}"
        lengths[fold] = Settings.load(path / "settings.json").resumed_with(folds.settings(fold), path).epochs
    assert lengths == {0: 9, 2: 9, 3: 9} and folds.settings(1)["epochs"] == 9
    assert folds.notes == ["All folds are trained for 9 epochs, as the longest of them."]


def test_the_recipes_number_of_epochs_counts_as_a_length(dataset, plan, tmp_path):
    begin(tmp_path, dataset, plan, 0, epochs=None)
    begin(tmp_path, dataset, plan, 1)
    folds = open_folder({"dataset": str(dataset)}, tmp_path, True)
    assert "epochs" not in folds.settings(0) and folds.settings(1)["epochs"] == 100


def test_a_plan_of_one_fold_is_refused(dataset, plan, tmp_path):
    one = replace(plan, folds=[[name for fold in plan.folds for name in fold]])
    one.save(tmp_path / "one.json")
    with pytest.raises(UserError, match=r"one\.json has one fold, .* nothing unseen would be measured"):
        open_folder({"dataset": str(dataset), "plan": str(tmp_path / "one.json")}, tmp_path / "run", False)
    begin(tmp_path / "run", dataset, one, 0)
    with pytest.raises(UserError, match=r"run.plan\.json has one fold"):
        open_folder({"dataset": str(dataset)}, tmp_path / "run", True)


def test_what_was_left_before_a_fold_began_is_gone_on_with(dataset, plan, tmp_path):
    plan.save(tmp_path / "plan.json")
    (tmp_path / "prepared").mkdir()
    (tmp_path / "fold_0").mkdir()
    (tmp_path / "fold_0" / ".partial-1-settings.json").touch()
    assert open_folder({"dataset": str(dataset)}, tmp_path, True).begun == {}
    assert not list((tmp_path / "fold_0").iterdir())


@pytest.mark.parametrize(
    ("metrics", "config", "message"),
    [
        ("{}", '{"training": {}}', r"metrics\.json is damaged"),
        ("[]", '{"training": {}}', r"metrics\.json is damaged"),
        ('{"cases": {}}', '{"name": "x"}', r"config\.json is damaged"),
        ('{"cases": {}}', "{", r"config\.json is not valid JSON"),
        ('{"cases": {}}', None, r"config\.json does not exist"),
    ],
)
def test_a_damaged_fold_says_how_to_measure_it_again(tmp_path, metrics, config, message):
    (tmp_path / "fold_1" / "bundle").mkdir(parents=True)
    (tmp_path / "fold_1" / "metrics.json").write_text(metrics, encoding="utf-8")
    if config is not None:
        (tmp_path / "fold_1" / "bundle" / "config.json").write_text(config, encoding="utf-8")
    with pytest.raises(UserError, match=message + r".* remove .*fold_1.metrics\.json and go on with --resume"):
        read_fold(tmp_path, 1)


def test_a_finished_fold_without_its_predictions_is_measured_again(dataset, plan, tmp_path):
    begin(tmp_path, dataset, plan, 0)
    begin(tmp_path, dataset, plan, 1)
    for fold in (0, 1):
        (tmp_path / f"fold_{fold}" / "metrics.json").write_text("{}", encoding="utf-8")
    for name in plan.folds[1]:
        (tmp_path / "fold_1" / "validation").mkdir(exist_ok=True)
        (tmp_path / "fold_1" / "validation" / f"{name}.nii.gz").touch()
    open_folder({"dataset": str(dataset)}, tmp_path, True)
    assert not (tmp_path / "fold_0" / "metrics.json").exists()
    assert (tmp_path / "fold_1" / "metrics.json").exists()


def notes(run, *_):
    (run / "notes.txt").touch()


def single_training(run, *_):
    (run / "settings.json").touch()


def one_fold(run, *rest):
    begin(run, *rest, 0)


def two_seeds(run, *rest):
    begin(run, *rest, 0)
    begin(run, *rest, 1, seed=1)


def two_plans(run, dataset, plan):
    begin(run, dataset, plan, 0)
    begin(run, dataset, replace(plan, folds=plan.folds[::-1]), 1)


def renamed(run, *rest):
    begin(run, *rest, 0)
    (run / "fold_0").rename(run / "fold_3")


def taken(run, *rest):
    renamed(run, *rest)
    begin(run, *rest, 0)


@pytest.mark.parametrize(
    ("prepare", "resume", "message"),
    [
        (notes, False, r"holds other files; name a new folder"),
        (notes, True, r"holds other files; name a new folder"),
        (single_training, True, r"holds the training of one fold.*RUN/fold_N"),
        (one_fold, False, r"holds trained folds already; add --resume"),
        (one_fold, True, r"--learning-rate was None when .*fold_0 began and cannot become 0\.2"),
        (two_seeds, True, r"fold_1 was trained with another --seed than .*fold_0; remove one of them"),
        (two_plans, True, r"fold_1 was trained by another plan than .*plan\.json says"),
        (renamed, True, r"fold_3 is a training of fold 0; rename it to fold_0"),
        (taken, True, r"fold_3 is a training of fold 0; move it out of"),
    ],
)
def test_what_cannot_be_gone_on_with_is_refused(dataset, plan, tmp_path, prepare, resume, message):
    prepare(tmp_path, dataset, plan)
    given = {"dataset": str(dataset)} | ({"learning_rate": 0.2} if "learning-rate" in message else {})
    with pytest.raises(UserError, match=message):
        open_folder(given, tmp_path, resume)


def test_one_case_and_a_file_are_refused(dataset, tmp_path):
    one = write_small_dataset(tmp_path / "one", cases=1)
    with pytest.raises(UserError, match="has one case, which cannot be cross-validated"):
        open_folder({"dataset": str(one)}, tmp_path / "run", False)
    (tmp_path / "run").touch()
    with pytest.raises(UserError, match="is a file"):
        open_folder({"dataset": str(dataset)}, tmp_path / "run", True)
