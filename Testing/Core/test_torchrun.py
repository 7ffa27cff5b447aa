"""Training and segmenting by several processes that torchrun starts: the same results as by one."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import safetensors.torch
import SimpleITK as sitk
import torch
from small_dataset import write_small_dataset

ROOT = Path(__file__).resolve().parents[2]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
# A batch that two processes cannot share evenly; SGD, as AdamW makes the noise of gradients that are nearly 0 large.
QUICK = ["--variant", "tiny", "--batch-size", "3", "--patch-size", "64", "64", "--recipe", "paper", "--threads", "1"]
WITHOUT_DROP_PATH = """
from dataclasses import replace

from DinoUNetCore.command_line import run
from DinoUNetCore.network.variants import VARIANTS
from DinoUNetCore.train import main

if __name__ == "__main__":
    VARIANTS["tiny"] = replace(VARIANTS["tiny"], drop_path=0.0)
    run(main)
"""


def start(command, log):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", "OMP_NUM_THREADS": "1"}
    environment |= {"CUDA_VISIBLE_DEVICES": "", "USE_LIBUV": "0" if os.name == "nt" else "1"}
    with log.open("w", encoding="utf-8") as output:
        return subprocess.Popen(list(map(str, command)), env=environment, stdout=output, stderr=subprocess.STDOUT)


def finish(command, log):
    """The exit code and what was said."""
    code = start(command, log).wait(timeout=280)
    return code, log.read_text(encoding="utf-8")


def wait_for(condition, process, log):
    deadline = time.monotonic() + 200
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline, log.read_text(encoding="utf-8")
        time.sleep(0.05)


def tensors(run):
    return safetensors.torch.load_file(run / "checkpoints" / "last.safetensors")


def history(run):
    return json.loads((run / "checkpoints" / "last.json").read_text(encoding="utf-8"))["history"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_small_dataset(tmp_path_factory.mktemp("data") / "balls")


@pytest.fixture(scope="module")
def without_drop_path(tmp_path_factory):
    script = tmp_path_factory.mktemp("script") / "train_without_drop_path.py"
    script.write_text(WITHOUT_DROP_PATH, encoding="utf-8")
    return script


def test_two_processes_train_as_one_does_with_the_same_batch(dataset, without_drop_path, tmp_path):
    options = [*QUICK, "--iterations", "4", "--epochs", "2"]
    commands = {
        "one": [sys.executable, without_drop_path],
        "two": [*TORCHRUN, "--nproc-per-node", "2", without_drop_path],
    }
    for name, command in commands.items():
        code, said = finish([*command, dataset, "-o", tmp_path / name, *options], tmp_path / "log.txt")
        assert code == 0, said
        assert said.count("Training tiny on") == said.count("The model is") == 1
    one, two = tmp_path / "one", tmp_path / "two"
    for ours, theirs in zip(history(two), history(one), strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], abs=1e-5)
        assert ours["dice"] == pytest.approx(theirs["dice"], abs=1e-3)
    ours, theirs = tensors(two), tensors(one)
    assert set(ours) == set(theirs)
    for name, tensor in theirs.items():
        if name.startswith("network."):
            scale = tensor.float().abs().max().item()
            torch.testing.assert_close(ours[name], tensor, rtol=0, atol=1e-3 * scale + 2e-5, msg=name)
    metrics = [json.loads((run / "metrics.json").read_text(encoding="utf-8")) for run in (two, one)]
    assert metrics[0]["mean"]["dice"] == pytest.approx(metrics[1]["mean"]["dice"], abs=0.01)
    assert (two / "validation" / "case_0.nii.gz").exists()


@pytest.mark.skipif(os.name != "posix", reason="torchrun forwards signals on POSIX only")
def test_a_killed_process_is_started_anew_and_ends_where_a_training_does_that_was_told_to_end_and_resumed(
    dataset, tmp_path
):
    log = tmp_path / "log.txt"
    train = ["-m", "DinoUNetCore.train", dataset, *QUICK, "--iterations", "10", "--epochs", "3"]
    several = [*TORCHRUN, "--nproc-per-node", "2", "--max-restarts", "1", *train]

    run = tmp_path / "killed"
    process = start([*several, "-o", run], log)
    wait_for((run / "checkpoints" / "last.json").exists, process, log)
    time.sleep(0.1)  # within the second epoch
    max(psutil.Process(process.pid).children(), key=lambda child: child.pid).kill()
    assert process.wait(timeout=200) == 0, log.read_text(encoding="utf-8")
    assert re.search("Going on after epoch [12] of 3", log.read_text(encoding="utf-8"))
    killed = tensors(run)

    run = tmp_path / "told"
    process = start([*several, "-o", run], log)
    wait_for((run / "checkpoints" / "last.json").exists, process, log)
    time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=100) != 0
    said = log.read_text(encoding="utf-8")
    assert len(re.findall("told to end: saved after (batch|epoch)", said)) == 1, said
    code, said = finish([*several, "-o", run, "--resume"], log)
    assert code == 0, said
    told = tensors(run)

    assert set(killed) == set(told)
    assert all(torch.equal(killed[name], told[name]) for name in told)


def test_what_a_user_can_mend_is_told_once_and_ends_all_processes(dataset, tmp_path):
    train = [*TORCHRUN, "--nproc-per-node", "2", "-m", "DinoUNetCore.train", dataset, "-o", tmp_path / "run"]
    code, said = finish([*train, *QUICK, "--batch-size", "1"], tmp_path / "log.txt")
    assert code != 0 and said.count("error: a batch has fewer patches (1) than there are processes (2)") == 1
    assert "Traceback (most recent call last):\n  File \"<frozen runpy>\"" in said  # torchrun's own, not ours
    assert not (tmp_path / "run").exists()


def test_three_processes_segment_what_one_does_to_the_bit_and_a_bad_file_stops_none(random_bundle, tmp_path):
    random_bundle(labels={"liver": 1, "spleen": 9}).save(tmp_path / "model")
    images = tmp_path / "images"
    write_small_dataset(tmp_path / "data", cases=4)
    (tmp_path / "data" / "imagesTr").rename(images)
    (images / "case_15_0000.nii.gz").write_bytes(b"no image")
    options = ["-m", tmp_path / "model", "-i", images, "--device", "cpu", "--threads", "1", "--batch-size", "2"]
    module = ["-m", "DinoUNetCore.segment", *options]
    code, said = finish([sys.executable, *module, "-o", tmp_path / "one"], tmp_path / "log.txt")
    assert code == 2, said
    several = [*TORCHRUN, "--nproc-per-node", "3", *module, "-o", tmp_path / "three"]
    code, said = finish(several, tmp_path / "log.txt")
    assert code != 0 and "exitcode  : 2" in said
    assert said.count("error: 1 of 5 cases could not be segmented") == 1
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert [name for name in names if name.endswith(".nii.gz")] == [f"case_{number}.nii.gz" for number in range(4)]
    assert sorted(path.name for path in (tmp_path / "three").iterdir()) == names
    for number in range(4):
        first, other = (sitk.ReadImage(str(tmp_path / name / f"case_{number}.nii.gz")) for name in ("one", "three"))
        assert (sitk.GetArrayViewFromImage(first) == sitk.GetArrayViewFromImage(other)).all()
        assert first.GetSpacing() == other.GetSpacing()
    (images / "case_15_0000.nii.gz").unlink()
    (tmp_path / "three" / "case_2.nii.gz").unlink()
    code, said = finish(several, tmp_path / "log.txt")  # what is missing only
    assert code == 0 and said.count("exists already") == 3
