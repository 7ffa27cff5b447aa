"""The command that trains: from a folder of labelled images to a bundle, killed in between, and misused."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import safetensors.torch
import SimpleITK as sitk
import torch
from backbone_files import metas_form
from small_dataset import write_small_dataset

from DinoUNetCore import DinoUNet, Segmenter, load_bundle
from DinoUNetCore.errors import Terminated, UserError
from DinoUNetCore.segment import main as segment
from DinoUNetCore.train import main
from DinoUNetCore.training.trainer import Trainer

QUICK = ["--variant", "tiny", "--iterations", "3", "--batch-size", "2", "--patch-size", "64", "64"]
ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.usefixtures("one_thread")


def command(dataset, run, *options):
    return [sys.executable, "-m", "DinoUNetCore.train", str(dataset), "-o", str(run), *QUICK, *options]


def _interrupted(trainer):
    raise KeyboardInterrupt


def environment():
    return os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_small_dataset(tmp_path_factory.mktemp("data") / "balls with blanks \u00e4")


@pytest.fixture(scope="module")
def finished(dataset, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "whole"
    main([str(dataset), "-o", str(run), *QUICK, "--epochs", "3", "--threads", "1"])
    return run


def test_a_training_leaves_model_numbers_and_pictures(finished):
    metrics = json.loads((finished / "metrics.json").read_text(encoding="utf-8"))
    assert set(metrics["labels"]) == {"ball", "shell"}
    assert 0 <= metrics["mean"]["dice"] <= 1 and metrics["validated_on_training_cases"] is False
    for name in ("log.csv", "curves.png", "overlay.png", "plan.json", "fingerprint.json", "settings.json"):
        assert (finished / name).stat().st_size > 100
    assert not (finished / "prepared").exists()
    bundle = load_bundle(finished / "bundle")
    assert [label.name for label in bundle.labels] == ["ball", "shell"]
    assert bundle.config["metrics"]["mean"] == metrics["mean"]
    assert "not a medical device" in bundle.card


def test_the_bundle_segments_with_the_best_epochs_weights(finished, dataset):
    bundle = load_bundle(finished / "bundle")
    with safetensors.safe_open(finished / "checkpoints" / "best.safetensors", "pt") as file:
        name = "decoder.seg_layers.2.weight"
        assert torch.equal(file.get_tensor(f"network.{name}"), bundle.tensors[name])
    image = sitk.ReadImage(str(dataset / "imagesTr" / "case_0_0000.nii.gz"))
    labels = Segmenter(bundle, "cpu").segment(image)
    assert labels.GetSize() == image.GetSize()


def test_a_killed_training_resumes_to_the_same_weights(finished, dataset, tmp_path):
    run = tmp_path / "killed"
    options = ("--epochs", "3", "--threads", "1", "--resume")
    process = subprocess.Popen(command(dataset, run, *options), env=environment(), stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not (run / "checkpoints" / "last.json").exists() and time.monotonic() < deadline:
        assert process.poll() is None, "ended before its first checkpoint"
        time.sleep(0.05)
    time.sleep(random.uniform(0, 1.0))  # anywhere: in an epoch, in validation, while writing
    process.send_signal(signal.SIGKILL if os.name == "posix" else signal.SIGTERM)
    process.wait()
    subprocess.run(command(dataset, run, *options), env=environment(), check=True, stdout=subprocess.DEVNULL)
    ours, theirs = (
        safetensors.torch.load_file(folder / "checkpoints" / "last.safetensors") for folder in (run, finished)
    )
    assert set(ours) == set(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert not list(run.rglob(".partial-*"))


@pytest.mark.skipif(os.name != "posix", reason="Windows ends a process that is sent SIGTERM at once")
def test_a_training_that_is_told_to_end_saves_within_the_epoch_and_resumes_to_the_same_weights(
    finished, dataset, tmp_path
):
    run, log = tmp_path / "told", tmp_path / "log.txt"
    options = ("--epochs", "3", "--threads", "1", "--resume")
    within = 0
    for _ in range(20):  # until it has ended in the middle of an epoch
        with log.open("w", encoding="utf-8") as output:
            process = subprocess.Popen(
                command(dataset, run, *options), env=environment(), stdout=output, stderr=subprocess.STDOUT
            )
            deadline = time.monotonic() + 300
            while "Training" not in log.read_text(encoding="utf-8") and time.monotonic() < deadline:
                assert process.poll() in (None, 0)
                time.sleep(0.02)
            time.sleep(random.uniform(0, 0.5))
            process.send_signal(signal.SIGTERM)
            code = process.wait()
        text = log.read_text(encoding="utf-8")
        assert "Traceback" not in text
        if code == 143:
            assert "go on with --resume" in text
            within += 1
            break
        if code == 0:
            shutil.rmtree(run)
    assert within, "it never ended within an epoch"
    subprocess.run(command(dataset, run, *options), env=environment(), check=True, stdout=subprocess.DEVNULL)
    ours, theirs = (
        safetensors.torch.load_file(folder / "checkpoints" / "last.safetensors") for folder in (run, finished)
    )
    assert set(ours) == set(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.skipif(os.name != "posix", reason="Windows ends a process that is sent SIGTERM at once")
def test_a_training_that_is_told_to_end_after_its_last_batch_ends_and_resumes_to_the_same_weights(
    finished, dataset, tmp_path, monkeypatch
):
    validate = Trainer._validate

    def told_meanwhile(trainer):
        if len(trainer.history) == 2:
            signal.raise_signal(signal.SIGTERM)
        return validate(trainer)

    run = tmp_path / "told"
    options = [str(dataset), "-o", str(run), *QUICK, "--epochs", "3", "--threads", "1"]
    monkeypatch.setattr(Trainer, "_validate", told_meanwhile)
    with pytest.raises(Terminated, match="saved after epoch 3"):
        main(options)
    monkeypatch.undo()
    assert not (run / "metrics.json").exists()
    main([*options, "--resume"])
    ours, theirs = (
        safetensors.torch.load_file(folder / "checkpoints" / "last.safetensors") for folder in (run, finished)
    )
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert (run / "metrics.json").exists()


def test_a_prepared_case_that_is_damaged_is_named(dataset, tmp_path, capsys):
    run = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("DinoUNetCore.training.trainer.Trainer.run", _interrupted)
        main([str(dataset), "-o", str(run), *QUICK, "--epochs", "1"])
    for file in (run / "prepared").rglob("*.npy"):
        file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(UserError, match=r"prepared.*is damaged or gone.*--resume"):
        main([str(dataset), "-o", str(run), *QUICK, "--epochs", "1", "--resume", "--workers", "1"])
    shutil.rmtree(run / "prepared")
    main([str(dataset), "-o", str(run), *QUICK, "--epochs", "1", "--resume"])
    assert (run / "metrics.json").exists()


@pytest.mark.skipif(os.name != "posix", reason="the size of files can be limited on POSIX only")
def test_a_disk_that_fills_up_leaves_the_last_checkpoint(dataset, tmp_path):
    run, limited = tmp_path / "run", tmp_path / "limited.py"
    main([str(dataset), "-o", str(run), *QUICK, "--epochs", "1", "--keep-prepared"])
    before = (run / "checkpoints" / "last.safetensors").read_bytes()
    limited.write_text(
        "import resource, signal, sys\n"
        "from DinoUNetCore.command_line import run\n"
        "from DinoUNetCore.train import main\n"
        "if __name__ == '__main__':\n"
        "    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))\n"
        "    run(main)\n",
        encoding="utf-8",
    )
    arguments = [str(dataset), "-o", str(run), "--epochs", "2", "--resume", "--keep-prepared"]
    result = subprocess.run(
        [sys.executable, str(limited), *arguments], env=environment(), capture_output=True, text=True, encoding="utf-8"
    )
    assert result.returncode == 2, result.stderr
    assert result.stderr.strip().splitlines()[-1].startswith("error: cannot write")
    assert (run / "checkpoints" / "last.safetensors").read_bytes() == before
    assert not list(run.rglob(".partial-*"))


def test_a_finished_training_is_left_alone(finished, dataset, capsys):
    before = (finished / "checkpoints" / "last.safetensors").stat().st_mtime_ns
    main([str(dataset), "-o", str(finished), "--resume"])
    assert "is finished" in capsys.readouterr().out
    assert (finished / "checkpoints" / "last.safetensors").stat().st_mtime_ns == before


def test_a_finished_training_can_be_made_longer(dataset, tmp_path):
    run = tmp_path / "run"
    main([str(dataset), "-o", str(run), *QUICK, "--epochs", "1"])
    with pytest.raises(UserError, match="tpu"):  # what fails before it begins leaves the finished training as it was
        main([str(dataset), "-o", str(run), "--resume", "--epochs", "2", "--device", "tpu"])
    assert (run / "metrics.json").exists()
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("DinoUNetCore.training.trainer.Trainer.run", _interrupted)
        main([str(dataset), "-o", str(run), "--resume", "--epochs", "2"])
    main([str(dataset), "-o", str(run), "--resume"])  # goes on to the second epoch, and is not taken for finished
    assert len((run / "log.csv").read_text(encoding="utf-8").splitlines()) == 3
    assert load_bundle(run / "bundle").config["training"]["epochs"] == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "--resume"),
        (["--resume", "--epochs", "2"], "--epochs was 3"),
        (["--resume", "--variant", "small"], "--variant was tiny"),
    ],
)
def test_a_run_is_not_overwritten_or_changed(finished, dataset, options, message):
    with pytest.raises(UserError, match=message):
        main([str(dataset), "-o", str(finished), *options])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--fold", "7"], "fold 7"),
        (["--device", "tpu"], "tpu"),
        (["--plan", "missing.json"], r"missing\.json"),
        (["--groups", "missing.json"], r"missing\.json"),
        (["--variant", "small"], "DINOv3 License"),
        (["--backbone", "missing.pth"], r"missing\.pth"),
    ],
)
def test_impossible_wishes_are_refused_with_a_sentence(dataset, tmp_path, options, message, monkeypatch):
    monkeypatch.delenv("DINOUNET_ACCEPT_DINOV3_LICENSE", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(UserError, match=message):
        main([str(dataset), "-o", str(tmp_path / "run"), *QUICK, *options])
    assert not (tmp_path / "run").exists()  # so that the mended command can be given again


def test_a_folder_with_other_files_is_not_used(dataset, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work", encoding="utf-8")
    with pytest.raises(UserError, match="other files"):
        main([str(dataset), "-o", str(tmp_path), *QUICK])
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("options", [["--varaint", "tiny"], ["--epochs", "0"], ["--epochs", "3", "--minutes", "2"], []])
def test_mistyped_commands_exit_with_2_and_a_sentence(options):
    arguments = [sys.executable, "-m", "DinoUNetCore.train", *(["data", "-o", "run"] if options else []), *options]
    done = subprocess.run(arguments, env=environment(), capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 2 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


def test_a_single_picture_trains_and_validates_on_itself_and_says_so(tmp_path, capsys):
    folder = write_small_dataset(tmp_path / "one", cases=1, size=(70, 90))
    main([str(folder), "-o", str(tmp_path / "run"), *QUICK, "--epochs", "1"])
    assert "warning: The only case" in capsys.readouterr().out
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["validated_on_training_cases"] is True
    assert load_bundle(tmp_path / "run" / "bundle").dimension == 2


def test_pictures_train_and_are_measured_in_pixels_whatever_resolution_they_store(tmp_path, capsys):
    folder = write_small_dataset(tmp_path / "scanned", size=(70, 90), resolutions=(0.0846, 0.35))
    main([str(folder), "-o", str(tmp_path / "run"), *QUICK, "--epochs", "1"])
    assert "HD95 pixel" in capsys.readouterr().out
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["unit"] == "pixel"
    distances = [result["hd95"] for case in metrics["cases"].values() for result in case.values()]
    assert max(distances) > 10  # in the stored mm the whole picture measures 9.6
    bundle = load_bundle(tmp_path / "run" / "bundle")
    assert bundle.unit == "pixel" and "HD95 (pixel)" in bundle.card


def test_large_label_values_train_and_are_measured_and_segmented(tmp_path):
    folder = write_small_dataset(tmp_path / "large", labels={"background": 0, "ball": 70_000, "shell": 2_000_000_000})
    main([str(folder), "-o", str(tmp_path / "run"), *QUICK, "--iterations", "25", "--epochs", "2"])
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["labels"]["ball"]["dice"] > 0.3
    scan, labels = folder / "imagesTr" / "case_0_0000.nii.gz", tmp_path / "labels.nii.gz"
    segment(["-m", str(tmp_path / "run" / "bundle"), "-i", str(scan), "-o", str(labels)])
    assert 70_000 in sitk.GetArrayViewFromImage(sitk.ReadImage(str(labels)))


def test_a_frozen_backbone_from_a_file_is_named_and_not_stored(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    backbone = DinoUNet("small").backbone
    metas, timms = tmp_path / "meta.pth", tmp_path / "timm.safetensors"
    torch.save(metas_form(backbone, backbone.rope_periods.to(torch.bfloat16)), metas)
    safetensors.torch.save_file(backbone.vit.state_dict(), timms)
    run, scan = tmp_path / "run", dataset / "imagesTr" / "case_0_0000.nii.gz"
    options = ["--variant", "small", "--backbone", str(metas), "--epochs", "1", "--spacing", "1", "1"]
    main([str(dataset), "-o", str(run), *QUICK, *options])
    bundle = load_bundle(run / "bundle", backbone=timms)
    record = bundle.config["backbone"]
    assert (record["name"], record["source"], record["stored"]) == (bundle.variant.timm_model, "file", False)
    assert not any(name.startswith("backbone.") for name in bundle.tensors)
    assert f"{bundle.variant.timm_model} (from a file), frozen" in bundle.card
    arguments = ["-m", str(run / "bundle"), "-i", str(scan), "-o", str(tmp_path / "labels.nii.gz"), "--device", "cpu"]
    segment([*arguments, "--backbone", str(metas)])
    written = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "labels.nii.gz")))
    labels = Segmenter(bundle, "cpu").segment(sitk.ReadImage(str(scan)))  # with timm's file
    assert (written == sitk.GetArrayViewFromImage(labels)).all()


@pytest.mark.parametrize("name", ["vit_smal_patch16_dinov3_qkvb.lvd1689m", "vit_base_patch16_dinov3_qkvb.sat493m"])
def test_timm_s_name_of_other_weights_is_refused_before_a_download(dataset, tmp_path, name):
    with pytest.raises(UserError, match="not the name of weights for the variant small"):
        main([str(dataset), "-o", str(tmp_path / "run"), "--variant", "small", "--backbone", name])
    assert not (tmp_path / "run").exists()


def test_minutes_fix_the_number_of_epochs_once(dataset, tmp_path, capsys):
    main([str(dataset), "-o", str(tmp_path / "run"), *QUICK, "--minutes", "0.01"])
    state = json.loads((tmp_path / "run" / "checkpoints" / "last.json").read_text(encoding="utf-8"))
    assert state["epochs"] == len(state["history"]) == 2
    assert "2 epochs fit into 0.01 minutes" in capsys.readouterr().out
    rows = (tmp_path / "run" / "log.csv").read_text(encoding="utf-8").splitlines()
    place = rows[0].split(",").index("learning_rate")
    first, last = (float(row.split(",")[place]) for row in rows[1:])
    assert last < first / 2  # few as they are, the rate falls in them


def test_a_small_training_learns(dataset, tmp_path):
    main([str(dataset), "-o", str(tmp_path / "run"), *QUICK, "--iterations", "25", "--epochs", "3"])
    history = json.loads((tmp_path / "run" / "checkpoints" / "last.json").read_text(encoding="utf-8"))["history"]
    assert history[-1]["loss"] < 0.7 * history[0]["loss"]
    assert history[-1]["mean_dice"] > 0.5
