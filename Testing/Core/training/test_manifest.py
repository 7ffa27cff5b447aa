import hashlib
import json
import os
import sys
from dataclasses import replace
from importlib import metadata

import pytest
import SimpleITK as sitk
import torch
from random_bundle import make_bundle
from small_dataset import write_small_dataset

from DinoUNetCore.dataset.fingerprint import make_fingerprint
from DinoUNetCore.dataset.layout import read_dataset
from DinoUNetCore.dataset.plan import Plan, make_plan
from DinoUNetCore.errors import UserError
from DinoUNetCore.network.variants import VARIANTS
from DinoUNetCore.training.manifest import hash_files, plan_sha256, write_manifest
from DinoUNetCore.training.settings import Settings

CPU = torch.device("cpu")


@pytest.fixture
def run(tmp_path):
    """Writes the manifest of one run over a small data set, as often as it is called."""
    folder = write_small_dataset(tmp_path / "data")
    dataset = read_dataset(folder)
    plan = make_plan(dataset, make_fingerprint(dataset), "tiny")
    path = tmp_path / "run" / "manifest.json"

    def write(**options) -> tuple[dict, list[str]]:
        notes = write_manifest(path, Settings(str(folder), seed=7), read_dataset(folder), plan, CPU, **options)
        return json.loads(path.read_text(encoding="utf-8")), notes

    write.path, write.folder, write.plan = path, folder, plan
    return write


def test_it_says_what_was_trained_on_with_which_program_and_where(run):
    counted = []
    manifest, notes = run(processes=2, progress=lambda done, total: counted.append((done, total)))
    (session,) = manifest["sessions"]
    assert notes == [] and manifest["seed"] == manifest["settings"]["seed"] == 7
    assert session["command"] == sys.orig_argv and session["machine"]["processes"] == 2
    assert session["packages"]["torch"] == metadata.version("torch")
    assert session["machine"]["memory_gb"] > 0 and "torch" in session["machine"]["device"]
    assert set(manifest["data"]["files"]) == {
        "dataset.json", *(f"imagesTr/case_{i}_0000.nii.gz" for i in range(3)),
        *(f"labelsTr/case_{i}.nii.gz" for i in range(3)),
    }  # fmt: skip
    for name, entry in manifest["data"]["files"].items():
        assert entry["sha256"] == hashlib.sha256((run.folder / name).read_bytes()).hexdigest()
    assert counted[-1] == (7, 7) and len(counted) == 7


def test_a_checkout_is_known_by_its_commit(run):
    program = run()[0]["sessions"][0]["program"]
    assert program["name"] == "dinounet-slicer"
    if "commit" in program:  # not in an installed package
        assert len(program["commit"]) == 40 and isinstance(program["changed_since_commit"], bool)


def test_a_run_that_goes_on_adds_a_session_and_finds_nothing_changed(run):
    first, _ = run()
    second, notes = run()
    assert notes == [] and len(second["sessions"]) == 2
    assert second["sessions"][0] == first["sessions"][0] and second["data"] == first["data"]


def test_files_that_changed_vanished_or_came_are_named_and_the_first_state_stays(run):
    first, _ = run()
    label = run.folder / "labelsTr" / "case_1.nii.gz"
    image = sitk.ReadImage(str(label))
    image[0, 0, 0] = 4
    sitk.WriteImage(image, str(label))
    for folder, name in (("imagesTr", "case_2_0000.nii.gz"), ("labelsTr", "case_2.nii.gz")):
        (run.folder / folder / name).rename(run.folder / folder / name.replace("case_2", "case_9"))
    second, notes = run()
    assert len(notes) == 3 and all("train again into a new folder" in note for note in notes)
    assert "1 file(s) of the data set have changed since this run began (labelsTr/case_1.nii.gz)" in notes[0]
    assert "2 file(s) of the data set are gone" in notes[1] and "2 file(s) of the data set are new" in notes[2]
    assert second["data"] == first["data"]
    assert run()[1] == notes  # until the data are as they were


def test_a_file_that_was_only_touched_is_no_change(run):
    run()
    os.utime(run.folder / "dataset.json", (1, 1))
    assert run()[1] == []


def test_other_packages_are_told(run):
    manifest, _ = run()
    manifest["sessions"][0]["packages"] |= {"torch": "1.0", "gone-package": "2"}
    run.path.write_text(json.dumps(manifest), encoding="utf-8")
    (note,) = run()[1]
    assert "2 package(s)" in note and f"torch 1.0, now {metadata.version('torch')}" in note
    assert "gone-package 2, now missing" in note


def test_the_voxels_beside_a_header_are_hashed_too(tmp_path):
    folder = write_small_dataset(tmp_path / "data")
    for path in [*folder.glob("*Tr/*.nii.gz")]:
        sitk.WriteImage(sitk.ReadImage(str(path)), str(path).replace(".nii.gz", ".mhd"))
        path.unlink()
    table = json.loads((folder / "dataset.json").read_text(encoding="utf-8")) | {"file_ending": ".mhd"}
    (folder / "dataset.json").write_text(json.dumps(table), encoding="utf-8")
    names = set(hash_files(read_dataset(folder)))
    assert {"imagesTr/case_0_0000.mhd", "imagesTr/case_0_0000.raw", "labelsTr/case_2.raw"} <= names
    assert len(names) == 13


def test_a_plan_is_known_by_its_content(run, tmp_path):
    run.plan.save(tmp_path / "plan.json")
    assert plan_sha256(Plan.load(tmp_path / "plan.json")) == plan_sha256(run.plan)
    assert plan_sha256(replace(run.plan, batch_size=99)) != plan_sha256(run.plan)


def test_the_weights_that_were_there_at_the_start_are_known(run):
    first, _ = run(backbone_sha256="abc")
    assert first["began_with"] == {"bundle": None, "backbone_sha256": "abc"}
    assert run(backbone_sha256="def")[0]["began_with"] == first["began_with"]


def test_a_bundle_is_known_by_its_weights_wherever_it_is(run, tmp_path):
    for seed, name in ((0, "model"), (1, "other")):
        make_bundle(variant=VARIANTS["tiny"], seed=seed).save(tmp_path / name)

    def write(name):
        settings = Settings(str(run.folder), variant="tiny", pretrained=str(tmp_path / name))
        write_manifest(run.path, settings, read_dataset(run.folder), run.plan, CPU)
        return json.loads(run.path.read_text(encoding="utf-8"))["began_with"]["bundle"]

    bundle = write("model")
    files = {"config_sha256": "config.json", "weights_sha256": "model.safetensors"}
    sums = {key: hashlib.sha256((tmp_path / "model" / file).read_bytes()).hexdigest() for key, file in files.items()}
    assert bundle == {"name": "random"} | sums
    (tmp_path / "model").rename(tmp_path / "moved")
    assert write("moved") == bundle
    with pytest.raises(UserError, match=r"other is not the bundle with which the training in .* began"):
        write("other")


@pytest.mark.parametrize("text", ["{}", "[]", '{"sessions": []}'])
def test_a_manifest_that_is_none_is_refused_by_name(run, text):
    run()
    run.path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"manifest\.json does not hold the manifest of a training; remove it"):
        run()


def test_a_damaged_manifest_is_refused_by_name(run):
    run()
    run.path.write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match=r"manifest\.json is not valid JSON"):
        run()
