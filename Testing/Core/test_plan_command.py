"""The command that shows a plan before training: its table, its files and pictures, and what it refuses."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from small_dataset import write_small_dataset

from DinoUNetCore.dataset.fingerprint import Fingerprint
from DinoUNetCore.dataset.plan import Plan
from DinoUNetCore.errors import UserError
from DinoUNetCore.overlay import GROUND
from DinoUNetCore.plan import WRITTEN, main

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_small_dataset(tmp_path_factory.mktemp("data") / "balls with blanks \u00e4", cases=6)


@pytest.fixture(scope="module")
def planned(dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("plans") / "new" / "folder"
    main([str(dataset), "-o", str(folder), "--variant", "tiny"])
    return folder


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", "COLUMNS": "100"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
    )


def test_without_a_folder_the_table_is_printed_and_nothing_written(dataset):
    before = sorted(dataset.rglob("*"))
    done = run("DinoUNetCore.plan", dataset, "--variant", "tiny")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "Balls: 6 case(s) of MR, for tiny"
    assert all(len(line) <= 100 for line in lines)
    (patch,) = [line for line in lines if line.startswith("patch ")]
    assert "96 x 96 pixels" in patch and "The median slice" in patch
    (shell,) = [line.split() for line in lines if line.startswith("shell ")]
    assert shell[1:5] == ["4", "6", "of", "6"]
    assert sorted(dataset.rglob("*")) == before


def test_every_choice_of_the_plan_stands_in_the_table_with_its_reason(dataset, planned, capsys):
    main([str(dataset), "--variant", "tiny"])
    text = " ".join(capsys.readouterr().out.split())
    for reason in Plan.load(planned / "plan.json").reasons.values():
        assert reason in text


def test_plan_fingerprint_and_pictures_are_written(planned):
    assert sorted(path.name for path in planned.iterdir()) == sorted(WRITTEN)
    plan, fingerprint = Plan.load(planned / "plan.json"), Fingerprint.load(planned / "fingerprint.json")
    assert plan.labels == {"background": 0, "ball": 1, "shell": 4}
    assert set(fingerprint.cases) == {name for fold in plan.folds for name in fold}


def test_the_samples_show_images_and_the_colours_of_the_labels(planned):
    pixels = sitk.GetArrayFromImage(sitk.ReadImage(str(planned / "samples.png")))[..., :3].astype(int)
    ground = [int(GROUND[i : i + 2], 16) for i in (1, 3, 5)]
    other = (np.abs(pixels - ground) > 8).any(axis=2)
    grey = np.ptp(pixels, axis=2) < 8
    assert (other & grey).mean() > 0.3  # images
    assert (np.ptp(pixels, axis=2) > 60).sum() > 500  # outlines
    assert not other[:3].any() and not other[:, :3].any() and not other[-3:].any()  # nothing is cut off


def test_colours_and_many_channels_make_pictures_too(tmp_path):
    folder = write_small_dataset(tmp_path / "channels", cases=2)
    table = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    table["channel_names"] = {str(number): f"echo ${number}" for number in range(5)}
    (folder / "dataset.json").write_text(json.dumps(table), encoding="utf-8")
    for path in list((folder / "imagesTr").iterdir()):
        for number in range(1, 5):
            path.with_name(path.name.replace("_0000", f"_000{number}")).write_bytes(path.read_bytes())
    colours = write_small_dataset(tmp_path / "colours", cases=2, size=(300, 280))
    table = json.loads((colours / "dataset.json").read_text(encoding="utf-8"))
    table["channel_names"] = {"0": "R", "1": "G", "2": "B"}
    (colours / "dataset.json").write_text(json.dumps(table), encoding="utf-8")
    for path in (colours / "imagesTr").iterdir():
        grey = sitk.ReadImage(str(path))
        sitk.WriteImage(sitk.Compose(grey, grey // 2, 255 - grey), str(path))
    for data in (folder, colours):
        main([str(data), "-o", str(tmp_path / f"{data.name} plan"), "--variant", "tiny", "--patch-size", "96", "96"])
        assert (tmp_path / f"{data.name} plan" / "samples.png").stat().st_size > 10_000


def test_what_is_there_is_not_overwritten_unless_asked(dataset, planned, tmp_path):
    before = {path.name: path.read_bytes() for path in planned.iterdir()}
    with pytest.raises(UserError, match=r"plan\.json exists; add --overwrite"):
        main([str(dataset), "-o", str(planned), "--variant", "tiny", "--batch-size", "3"])
    assert {path.name: path.read_bytes() for path in planned.iterdir()} == before
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "samples.png").write_bytes(b"mine")
    (mine / "thesis.txt").write_text("years of work", encoding="utf-8")
    main([str(dataset), "-o", str(mine), "--variant", "tiny", "--batch-size", "3", "--overwrite"])
    assert Plan.load(mine / "plan.json").batch_size == 3
    assert (mine / "samples.png").stat().st_size > 1000
    assert (mine / "thesis.txt").read_text(encoding="utf-8") == "years of work"


def test_an_edited_plan_is_checked_and_shown(dataset, planned, tmp_path, capsys):
    table = json.loads((planned / "plan.json").read_text(encoding="utf-8"))
    table |= {"batch_size": 7, "folds": [["case_0"], ["case_1", "case_2"]]}
    (tmp_path / "plan.json").write_text(json.dumps(table), encoding="utf-8")
    main([str(dataset), "--plan", str(tmp_path / "plan.json")])
    output = capsys.readouterr().out
    assert "7 patches" in output and "Balls: 3 case(s)" in output
    assert "warning: 3 case(s) are in no fold of the plan" in output
    with pytest.raises(UserError, match="--batch-size is decided by"):
        main([str(dataset), "--plan", str(tmp_path / "plan.json"), "--batch-size", "3"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--device", "tpu"], "tpu"),
        (["--plan", "missing.json"], r"missing\.json"),
        (["--patch-size", "9", "9"], "patch_size in the options"),
    ],
)
def test_impossible_wishes_are_refused_with_a_sentence(dataset, tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        main([str(dataset), "-o", str(tmp_path / "out"), *options])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["plan", "train"])
def test_all_problems_of_a_data_set_are_listed_at_once(tmp_path, command):
    folder = write_small_dataset(tmp_path / "broken", cases=4)
    (folder / "labelsTr" / "case_0.nii.gz").unlink()
    (folder / "imagesTr" / "case_1_0000.nii.gz").write_bytes(b"nothing")
    label = sitk.ReadImage(str(folder / "labelsTr" / "case_2.nii.gz"))
    sitk.WriteImage(label + 90, str(folder / "labelsTr" / "case_2.nii.gz"))
    done = run(f"DinoUNetCore.{command}", folder, "-o", tmp_path / "out", "--variant", "tiny")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    told = done.stderr[done.stderr.index("error: the data set has 3 problems") :].splitlines()
    assert ["case_0_0000" in told[1], "case_1_0000" in told[2], "case_2" in told[3]] == [True] * 3 and len(told) == 4
    assert not (tmp_path / "out").exists()


def test_a_class_that_a_fold_lacks_is_warned_about(tmp_path, capsys):
    folder = write_small_dataset(tmp_path / "set", cases=3)
    for case in (0, 1):
        path = folder / "labelsTr" / f"case_{case}.nii.gz"
        sitk.WriteImage(sitk.ChangeLabel(sitk.ReadImage(str(path)), {4: 1}), str(path))
    main([str(folder), "--variant", "tiny"])
    output = capsys.readouterr().out
    assert "warning: The label 'shell' is in no training case of fold" in output
    assert "warning: The label 'shell' is in no validation case of the folds" in output
