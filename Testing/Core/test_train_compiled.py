"""Training with --compile on a machine without a C++ compiler: as without it, and that is said."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
from small_dataset import write_small_dataset

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import sys

from DinoUNetCore.network.variants import VARIANTS
from DinoUNetCore.train import main
from random_bundle import SIZES

if __name__ == "__main__":
    VARIANTS["tiny"] = SIZES
    for choice in ("no", "yes"):
        main([*sys.argv[1:], "--output", choice, "--compile", choice])
        print("finished", choice)
"""
QUICK = ["--variant", "tiny", "--batch-size", "2", "--patch-size", "64", "64", "--iterations", "3", "--epochs", "1"]
QUICK += ["--threads", "1", "--workers", "0", "--device", "cpu"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with runs by the value of --compile, and what was said in each."""
    folder = tmp_path_factory.mktemp("compiled")
    (folder / "train.py").write_text(SCRIPT, encoding="utf-8")
    data = write_small_dataset(folder / "balls")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "Testing")]), "PYTHONUTF8": "1"}
    environment |= {"CUDA_VISIBLE_DEVICES": "", "CXX": str(folder / "no-compiler"), "OMP_NUM_THREADS": "1"}
    environment |= {"TORCHINDUCTOR_CACHE_DIR": str(folder / "cache")}
    command = [sys.executable, "train.py", str(data), *QUICK]
    result = subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, encoding="utf-8", timeout=200
    )
    assert result.returncode == 0, result.stderr
    plain, compiled = result.stdout.split("finished no")
    return folder, {"no": plain, "yes": compiled}


def test_it_ends_with_the_weights_of_a_training_that_was_not_to_be_compiled(trained):
    folder, said = trained
    plain, compiled = (
        safetensors.torch.load_file(folder / name / "checkpoints" / "last.safetensors") for name in ("no", "yes")
    )
    assert plain.keys() == compiled.keys()
    assert all(torch.equal(plain[name], compiled[name]) for name in plain)
    assert "torch.compile" not in said["no"]
    assert said["yes"].count("Training goes on without torch.compile") == 1


@pytest.mark.parametrize(("choice", "reason"), [("yes", "C++ compiler"), ("no", None)])
def test_the_manifest_says_what_ran(trained, choice, reason):
    manifest = json.loads((trained[0] / choice / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["settings"]["compile"] == choice
    noted = manifest["sessions"][-1].get("compile")
    if reason is None:
        assert noted is None
    else:
        assert noted["asked"] == choice and noted["running"] is False and reason in noted["reason"]
