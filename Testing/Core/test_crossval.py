"""The command that cross-validates: killed in between, after a fold that was trained before, and misused."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from small_dataset import write_small_dataset

from DinoUNetCore import Segmenter, load_bundle
from DinoUNetCore.crossval import main
from DinoUNetCore.errors import UserError
from DinoUNetCore.train import main as train

QUICK = ["--variant", "tiny", "--iterations", "2", "--batch-size", "2", "--patch-size", "64", "64", "--epochs", "1"]
QUICK += ["--threads", "1", "--context-slices", "1", "--spacing", "1", "1"]
ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_small_dataset(tmp_path_factory.mktemp("data") / "balls with blanks \u00e4", cases=3)


@pytest.fixture(scope="module")
def finished(dataset, tmp_path_factory):
    """A cross-validation whose fold 1 was trained before, and which was killed while it trained fold 0 or 2."""
    run = tmp_path_factory.mktemp("runs") / "crossval"
    train([str(dataset), "-o", str(run / "fold_1"), *QUICK, "--fold", "1"])
    before = digests(run / "fold_1")
    command = [sys.executable, "-m", "DinoUNetCore.crossval", str(dataset), "-o", str(run), "--resume"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while not (run / "fold_0" / "checkpoints" / "last.json").exists() and time.monotonic() < deadline:
        assert process.poll() is None, "ended before its first checkpoint"
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL if os.name == "posix" else signal.SIGTERM)
    process.wait()
    assert not (run / "crossval.json").exists()
    main([str(dataset), "-o", str(run), "--resume"])
    assert digests(run / "fold_1") == before
    return run


def digests(run):
    return {name: (run / name).read_bytes() for name in ("bundle/config.json", "metrics.json", "plan.json")}


def test_a_cross_validation_leaves_numbers_pictures_and_a_report(finished, dataset):
    summary = json.loads((finished / "crossval.json").read_text(encoding="utf-8"))
    assert set(summary["labels"]) == {"ball", "shell"} and len(summary["folds"]) == 3
    assert sorted(summary["cases"]) == ["case_0", "case_1", "case_2"]
    plan = json.loads((finished / "plan.json").read_text(encoding="utf-8"))
    assert [fold["cases"] for fold in summary["folds"]] == plan["folds"]
    assert {fold["epochs"] for fold in summary["folds"]} == {1}  # also of the fold that was begun by the other command
    for name in ("crossval.png", "cases.png", "report.html"):
        assert (finished / name).stat().st_size > 1000
    page = (finished / "report.html").read_text(encoding="utf-8")
    assert "To use the model" in page and "To repeat the run" in page and "DinoUNetCore.segment -m" in page
    assert not (finished / "prepared").exists() and not list(finished.rglob(".partial-*"))
    report, metrics = (finished / "fold_0" / name for name in ("report.html", "metrics.json"))
    assert report.stat().st_mtime_ns <= metrics.stat().st_mtime_ns  # a fold that counts as finished has its page
    assert "metrics.json" in report.read_text(encoding="utf-8")


def test_its_model_is_the_ensemble_of_the_folds(finished, dataset):
    bundle = load_bundle(finished / "bundle")
    members = [load_bundle(finished / f"fold_{fold}" / "bundle").build_network() for fold in range(3)]
    x = torch.randn(1, 1, 64, 64)
    with torch.inference_mode():
        expected = torch.stack([member(x) for member in members]).mean(dim=0)
        torch.testing.assert_close(bundle.build_network()(x), expected, rtol=0, atol=1e-5)
    summary = json.loads((finished / "crossval.json").read_text(encoding="utf-8"))
    assert bundle.name == "Balls-tiny-ensemble" and bundle.members == 3
    assert bundle.config["metrics"]["mean"]["dice"] == summary["mean"]["dice"]["mean"]
    assert "best epoch was chosen by its Dice on the same cases" in bundle.card
    assert bundle.config["postprocessing"]["keep_largest"] == summary["postprocessing"]["keep_largest"]
    assert "the mean of the logits of 3 networks" in bundle.card and "folds: 3" in bundle.card
    image = sitk.ReadImage(str(dataset / "imagesTr" / "case_0_0000.nii.gz"))
    values = np.unique(sitk.GetArrayFromImage(Segmenter(bundle, "cpu").segment(image)))
    assert set(values.tolist()) <= {0, 1, 4}


def test_every_case_was_measured_by_the_fold_that_had_not_seen_it(finished):
    summary = json.loads((finished / "crossval.json").read_text(encoding="utf-8"))
    for name, case in summary["cases"].items():
        run = finished / f"fold_{case['fold']}"
        assert (run / "validation" / f"{name}.nii.gz").is_file()
        metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
        for structure, measured in case["labels"].items():
            if structure not in summary["postprocessing"]["keep_largest"]:
                assert measured == metrics["cases"][name][structure]


def test_a_finished_one_is_summarised_again_but_not_trained(finished, dataset, capsys):
    before = (finished / "crossval.json").read_bytes()
    drawn = (finished / "crossval.png").read_bytes()
    (finished / "crossval.png").unlink()
    (finished / "crossval.png").mkdir()  # it cannot be drawn, of which a warning tells
    trained = [digests(finished / f"fold_{fold}") for fold in range(3)]
    train([str(dataset), "-o", str(finished), *QUICK, "--fold", "all", "--resume", "--workers", "0", "--keep-prepared"])
    assert [digests(finished / f"fold_{fold}") for fold in range(3)] == trained
    assert (finished / "crossval.json").read_bytes() == before
    (finished / "crossval.png").rmdir()
    (finished / "crossval.png").write_bytes(drawn)
    output = capsys.readouterr().out
    assert "warning: cannot write" in output and "Fold 1 (of 0 to 2):" in output
    assert output.count("is finished") == 3 and "± standard deviation over the 3 folds" in output


def test_what_lies_in_the_way_is_not_overwritten(finished, dataset):
    with pytest.raises(UserError, match="holds trained folds already; add --resume"):
        main([str(dataset), "-o", str(finished), *QUICK])
    with pytest.raises(UserError, match=r"--iterations was 2 when .*fold_0 began and cannot become 3"):
        main([str(dataset), "-o", str(finished), "--resume", "--iterations", "3"])


def test_a_fold_is_a_number_or_all(dataset, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        train([str(dataset), "-o", str(tmp_path / "run"), "--fold", "some"])
    error = capsys.readouterr().err
    assert ended.value.code == 2 and "--fold" in error and "nor 'all'" in error
