"""A run's folder: when a training there is finished, and what other folds know of the data."""

from dataclasses import replace

import pytest
import torch
from small_dataset import write_small_dataset

from DinoUNetCore.dataset.fingerprint import make_fingerprint
from DinoUNetCore.dataset.layout import read_dataset
from DinoUNetCore.dataset.plan import Plan, make_plan
from DinoUNetCore.files import read_json, write_json
from DinoUNetCore.training.manifest import write_manifest
from DinoUNetCore.training.planning import Planned
from DinoUNetCore.training.run_folder import RunFolder
from DinoUNetCore.training.settings import Settings


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    dataset = read_dataset(write_small_dataset(tmp_path_factory.mktemp("data") / "balls", cases=2))
    fingerprint = make_fingerprint(dataset)
    return Planned(dataset, make_plan(dataset, fingerprint, "tiny"), fingerprint, [])


def test_a_training_is_finished_whatever_it_ran_on(tmp_path):
    folder, settings = RunFolder(tmp_path), Settings("data", epochs=3)
    settings.save(folder.settings)
    assert not folder.is_finished(settings)
    write_json(folder.metrics, {})
    elsewhere = {"device": "cuda:1", "workers": 3, "threads": 2, "keep_prepared": True, "tensorboard": True}
    assert folder.is_finished(replace(settings, **elsewhere))
    assert not folder.is_finished(replace(settings, epochs=4))


def test_the_shared_plan_is_written_last(planned, tmp_path):
    folder = RunFolder(tmp_path / "fold_0", tmp_path)
    folder.begin(Settings("data"), planned)
    order = [tmp_path / "fingerprint.json", tmp_path / "fold_0" / "plan.json", tmp_path / "plan.json"]
    times = [path.stat().st_mtime_ns for path in order]
    assert times == sorted(times) and Plan.load(order[1]) == Plan.load(order[2]) == planned.plan


def test_files_that_another_fold_hashed_are_not_read_again(planned, tmp_path):
    first, second = RunFolder(tmp_path / "fold_0", tmp_path), RunFolder(tmp_path / "fold_1", tmp_path)
    given = (Settings("data"), planned.dataset, planned.plan, torch.device("cpu"))
    write_manifest(first.path / "manifest.json", *given)
    manifest = read_json(first.path / "manifest.json")
    for entry in manifest["data"]["files"].values():
        entry["sha256"] = "0" * 64  # it shows whether a file was read
    write_json(first.path / "manifest.json", manifest)
    write_manifest(second.path / "manifest.json", *given, known=second.known_files())
    found = read_json(second.path / "manifest.json")["data"]["files"]
    assert found == manifest["data"]["files"] and len(found) == 5


def test_files_that_other_folds_hashed_are_known(tmp_path):
    entry = {"sha256": "0" * 64, "bytes": 1, "modified": 2}
    write_json(tmp_path / "fold_0" / "manifest.json", {"data": {"files": {"dataset.json": entry}}})
    (tmp_path / "fold_1").mkdir()
    (tmp_path / "fold_1" / "manifest.json").write_text("{", encoding="utf-8")
    assert RunFolder(tmp_path / "fold_2", tmp_path).known_files() == {"dataset.json": entry}
    assert RunFolder(tmp_path / "fold_2").known_files() == {}
