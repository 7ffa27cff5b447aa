"""`models export`, and what is exported on a machine without network."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from models_command import one_error, rename
from travelling import SMALL, zipped

from DinoUNetCore.inference.segmenter import Segmenter
from DinoUNetCore.weights import backbone_store, library, license
from DinoUNetCore.weights.bundle_reading import load_bundle

ROOT = Path(__file__).resolve().parents[3]
NO_NETWORK = """
import socket


def refuse(*arguments, **options):
    raise OSError("this machine has no network")


socket.socket.connect = socket.socket.connect_ex = refuse
socket.getaddrinfo = socket.create_connection = refuse
"""


def offline_machine(home: Path) -> dict[str, str]:
    """The environment of another user on a machine whose sockets do not connect."""
    (home / "python").mkdir(parents=True)
    (home / "python" / "sitecustomize.py").write_text(NO_NETWORK, encoding="utf-8")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "DINOUNET", "XDG"))}
    return kept | {
        "PYTHONPATH": os.pathsep.join([str(home / "python"), str(ROOT)]),
        "HF_HOME": str(home / "hub"),
        "DINOUNET_MODELS": str(home / "models"),
        "OMP_NUM_THREADS": "1",
    }


def run_there(environment, cwd, *arguments):
    command = [sys.executable, "-m", *map(str, arguments)]
    return subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, timeout=120)


def test_an_exported_model_segments_where_there_is_no_network(call, small, tmp_path):
    call("import", small / "public")
    call("import", small / "bundle")
    status, out, error = call("export", "knee", tmp_path / "travel.zip", "--with-backbone")
    assert (status, error) == (0, "") and out.startswith(f"{tmp_path / 'travel.zip'} is written (1")
    scan = sitk.GetImageFromArray(np.random.default_rng(0).normal(100, 20, (2, 48, 40)).astype(np.float32))
    sitk.WriteImage(scan, str(tmp_path / "scan.mha"))
    expected = Segmenter(load_bundle(small / "bundle", small / "public"), "cpu").segment(scan)

    home = tmp_path / "other machine"
    environment = offline_machine(home)
    dials = "import socket; socket.create_connection(('127.0.0.1', 9))"
    cut_off = subprocess.run([sys.executable, "-c", dials], env=environment, capture_output=True, text=True)
    assert "this machine has no network" in cut_off.stderr
    imported = run_there(environment, home, "DinoUNetCore.models", "import", tmp_path / "travel.zip")
    assert imported.returncode == 0, imported.stderr
    (tmp_path / "travel.zip").unlink()
    arguments = ("-m", "knee", "-i", tmp_path / "scan.mha", "-o", "labels.mha")
    done = run_there(environment, home, "DinoUNetCore.segment", *arguments)
    assert done.returncode == 0, done.stderr
    found = sitk.GetArrayFromImage(sitk.ReadImage(str(home / "labels.mha")))
    assert len(np.unique(found)) > 1 and np.array_equal(found, sitk.GetArrayFromImage(expected))
    assert (home / "models" / ".backbones").is_dir() and not list((home / "models").glob(".partial*"))


def test_without_network_a_model_alone_says_what_it_lacks(call, small, tmp_path):
    call("export", small / "bundle", tmp_path / "alone.zip")
    environment = offline_machine(tmp_path / "other machine") | {license.VARIABLE: "1"}
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((2, 32, 32), np.float32)), str(tmp_path / "scan.mha"))
    arguments = ("-m", tmp_path / "alone.zip", "-i", tmp_path / "scan.mha", "-o", tmp_path / "labels.mha")
    result = run_there(environment, tmp_path, "DinoUNetCore.segment", *arguments)
    one_error((result.returncode, result.stdout, result.stderr), SMALL.timm_model, "--backbone FILE")


def test_what_cannot_be_exported_is_refused_in_one_sentence(call, small, travelling, tmp_path):
    one_error(call("export", "nothing", tmp_path / "out.zip"), "there is no model bundle nothing", "phantom-tiny")
    one_error(call("export", "phantom-tiny", tmp_path / "out.tar"), "out.tar")
    one_error(call("export", small / "bundle", tmp_path / "out.zip", "--with-backbone"), "DINOv3 License")
    backbone = travelling / "backbone"
    one_error(call("export", small / "bundle", tmp_path / "out.zip", "--backbone", backbone), "SHA-256 differs")
    missing = tmp_path / "none.pth"
    one_error(call("export", small / "bundle", tmp_path / "out.zip", "--backbone", missing), str(missing))
    assert not (tmp_path / "out.zip").exists()


def test_a_model_that_holds_its_backbone_or_travels_with_it_is_exported_whole(call, travelling, tmp_path):
    status, out, _ = call("export", "phantom-tiny", tmp_path / "tiny.zip", "--with-backbone")
    assert status == 0 and "phantom-tiny holds its own backbone" in out
    assert call("export", travelling, tmp_path / "knee.zip", "--with-backbone")[0] == 0
    library.add(tmp_path / "knee.zip")
    assert len(backbone_store.entries()) == 1


def test_an_export_takes_along_the_backbone_that_lies_in_a_zip(call, travelling, tmp_path):
    archive = zipped(Path(shutil.copytree(travelling, tmp_path / "travel")))
    for source, with_backbone in ((travelling, True), (archive, True), (archive, False)):
        options = ["--with-backbone"] * with_backbone
        status, _, error = call("export", source, tmp_path / "out.zip", "--overwrite", *options)
        assert (status, error) == (0, "")
        with zipfile.ZipFile(tmp_path / "out.zip") as file:
            assert ("backbone/backbone.json" in file.namelist()) is with_backbone


def test_a_name_means_the_same_to_all_commands(call, small, travelling, tmp_path, monkeypatch):
    """A path counts first, as for `segment -m`."""
    library.add(travelling)
    monkeypatch.chdir(tmp_path)
    rename(small / "bundle", "another one", tmp_path / "knee")
    assert call("export", "knee", "out.zip")[0] == 0
    assert load_bundle(tmp_path / "out.zip").name == load_bundle("knee").name == "another one"


# remove
