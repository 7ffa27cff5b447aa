"""The command that keeps models and backbones: what it lists, brings in, passes on and deletes."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import official_files
import pytest
import safetensors.torch
import SimpleITK as sitk
import torch
from backbone_files import metas_form, transformers_form
from hub_stub import WRITER, HubStub
from random_bundle import make_bundle
from travelling import LICENSE, SMALL, TINY, make_backbone_folder, make_travelling, save_named, save_weights, zipped

from DinoUNetCore import command_line, models
from DinoUNetCore.inference.segmenter import Segmenter
from DinoUNetCore.model_list import bytes_in_words
from DinoUNetCore.weights import backbone_store, library, license
from DinoUNetCore.weights.bundle_reading import load_bundle

ROOT = Path(__file__).resolve().parents[2]
NO_NETWORK = """
import socket


def refuse(*arguments, **options):
    raise OSError("this machine has no network")


socket.socket.connect = socket.socket.connect_ex = refuse
socket.getaddrinfo = socket.create_connection = refuse
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    """The library's folder, which does not exist yet; nothing is in the hub's cache, no licence was accepted."""
    monkeypatch.setenv("DINOUNET_MODELS", str(tmp_path / "library"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(license, "_accepted_here", False)
    monkeypatch.setenv("COLUMNS", "110")
    for name in (license.VARIABLE, "DINOUNET_BACKBONE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "library"


@pytest.fixture
def call(capsys):
    """Runs the command in this process; returns its exit status, standard output and standard error."""

    def call(*arguments) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            command_line.run(lambda: models.main([str(argument) for argument in arguments]))
        return (ended.value.code, *capsys.readouterr())

    return call


@pytest.fixture(scope="module")
def travelling(tmp_path_factory) -> Path:
    """The folder of a bundle "knee" with the backbone that it names."""
    return make_travelling(tmp_path_factory.mktemp("saved") / "travelling")


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    """In a folder: a bundle "knee" that names its backbone, of the variant small, and the weights as timm has them."""
    place = tmp_path_factory.mktemp("small")
    whole = make_bundle(variant=SMALL)
    save_named(whole, "knee", place / "bundle")
    save_weights(whole, place / "public")
    return place


def put_into_cache(tmp_path, name, complete=True) -> Path:
    """A backbone in the hub's cache, as its library would leave it."""
    place = tmp_path / "cache" / f"models--timm--{name}"
    for part in ("blobs", "refs", "snapshots/abc"):
        (place / part).mkdir(parents=True)
    (place / "refs" / "main").write_text("abc", encoding="utf-8")
    (place / ("snapshots/abc/model.safetensors" if complete else "blobs/0.incomplete")).write_bytes(bytes(2_500_000))
    return place


def rename(bundle, name, target) -> Path:
    shutil.copytree(bundle, target)
    config = json.loads((target / "config.json").read_text(encoding="utf-8"))
    (target / "config.json").write_text(json.dumps(config | {"name": name}), encoding="utf-8")
    return target


def flip(path):
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


def one_error(result, *parts):
    status, _, error = result
    assert status == 2 and error.startswith("error: ") and error.count("\n") == 1, result
    assert all(part in error for part in parts), error


# list


def test_the_list_shows_what_there_is_and_where(call, folder, travelling, tmp_path):
    library.add(travelling)
    shutil.rmtree(rename(travelling, "hip", tmp_path / "hip") / "backbone")
    library.add(tmp_path / "hip")
    put_into_cache(tmp_path, "vit_base_patch16_dinov3_qkvb.lvd1689m")
    put_into_cache(tmp_path, "vit_large_patch16_dinov3_qkvb.lvd1689m", complete=False)
    (folder / "\u809d\u81d3").mkdir()
    status, out, error = call("list")
    assert status == 0 and error == ""
    lines = out.splitlines()
    sha256 = backbone_store.entries()[0].sha256
    assert lines[0].split() == ["MODEL", "VARIANT", "SIZE", "BACKBONE", "STRUCTURES"]
    assert lines[1].startswith("phantom-tiny  tiny") and "in the model  10: " in lines[1] and lines[1].endswith("...")
    assert [line.split()[0] for line in lines[2:5]] == ["hip", "knee", "\u809d\u81d3"]
    assert "available     3: one, two, three" in lines[3] and "damaged, see below" in lines[4]
    size = bytes_in_words(backbone_store.entries()[0].size)
    assert [" ".join(line.split()) for line in lines[6:10]] == [
        "BACKBONE SHA-256 SIZE WHERE MODELS",
        f"{TINY.timm_model} {sha256[:12]} {size} library hip, knee",
        "vit_base_patch16_dinov3_qkvb.lvd1689m - 2.5 MB hub's cache -",
        "vit_large_patch16_dinov3_qkvb.lvd1689m - 2.5 MB hub's cache not usable, see below",
    ]
    assert lines[11].startswith(f"! {folder / chr(0x809d)}") and "broke off" in lines[12]
    assert f"Library:      {folder}" in lines and "DINOv3 License, not accepted yet: " in lines[-1]
    assert max(map(len, lines[:10])) <= 110


def test_the_list_for_programs_says_the_same_in_json(call, folder, travelling, tmp_path):
    library.add(travelling)
    backbone_store.remove(backbone_store.entries()[0].sha256)
    put_into_cache(tmp_path, "vit_base_patch16_dinov3_qkvb.lvd1689m")
    status, out, _ = call("list", "--json")
    table = json.loads(out)
    assert status == 0 and table["folder"] == str(folder) and table["license"]["accepted"] is False
    phantom, knee = table["models"]
    assert (phantom["name"], phantom["source"], phantom["backbone"]["state"]) == ("phantom-tiny", "embedded", "stored")
    assert knee["backbone"] == {
        "state": "named",
        "name": TINY.timm_model,
        "sha256": load_bundle(folder / "knee").config["backbone"]["sha256"],
        "place": None,
    }
    assert knee["bytes"] == sum(path.stat().st_size for path in (folder / "knee").iterdir())
    (backbone,) = table["backbones"]
    assert (backbone["variant"], backbone["place"], backbone["bytes"]) == ("base", "cache", 2_500_003)  # and "abc"


def test_an_odd_model_does_not_end_the_list_nor_move_the_cursor(call, folder, travelling):
    for name, change in {
        "a": lambda config: config.update(architecture=[1]),
        "b": lambda config: config["architecture"].update(variant={"a": 1}),
        "c": lambda config: config["labels"][0].update(name="\x1b[2Jliver\nMODEL"),
        "d": lambda config: config["backbone"].update(name=["x"]),
    }.items():
        config = json.loads((rename(travelling, name, folder / name) / "config.json").read_text(encoding="utf-8"))
        change(config)
        (folder / name / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "e\x1b[31m").mkdir()
    status, out, error = call("list")
    assert (status, error) == (0, "") and "\x1b" not in out and "\ufffd[2Jliver\ufffdMODEL" in out
    assert sum("damaged, see below" in line for line in out.splitlines()) == 4
    assert [model["name"] for model in json.loads(call("list", "--json")[1])["models"]][1:5] == ["a", "b", "c", "d"]


def test_next_to_nothing_is_imported_before_ctrl_c_is_taken_care_of():
    program = "import sys, DinoUNetCore.models; print(*sorted(m for m in sys.modules if m.startswith('DinoUNetCore.')))"
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    loaded = {name.removeprefix("DinoUNetCore.") for name in result.stdout.split()}
    assert loaded <= {
        "command_line",
        "errors",
        "files",
        "models",
        "models_parser",
        "weights",
        "weights.models_folder",
    }


@pytest.mark.parametrize("command", ["list", "list --json", "remove knee", "verify", "license --accept", "import {}"])
def test_what_needs_no_torch_does_not_load_it(travelling, command):
    library.add(travelling)
    program = (
        "import sys\n"
        "from DinoUNetCore.models import main\n"
        "main(sys.argv[1:])\n"
        "sys.exit('loads torch' if 'torch' in sys.modules else 0)\n"
    )
    arguments = command.format(travelling).split(" ")
    result = subprocess.run([sys.executable, "-c", program, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


# import


def test_a_bundle_is_imported_with_its_backbone_as_folder_and_as_zip(call, travelling, tmp_path):
    for source in (travelling, zipped(Path(shutil.copytree(travelling, tmp_path / "copy")))):
        status, out, _ = call("import", source)
        assert status == 0 and out.startswith("the model knee is in the library (") and out.count("\n") == 1
    assert len(backbone_store.entries()) == 1


def test_a_bundle_without_its_backbone_says_that_it_will_be_needed(call, small):
    assert f"its backbone {SMALL.timm_model} is not on this computer yet." in call("import", small / "bundle")[1]


def test_backbone_weights_are_imported_in_any_form_and_known_to_be_the_same(call, small, tmp_path):
    backbone = load_bundle(small / "bundle", small / "public").build_network().backbone
    torch.save(metas_form(backbone, backbone.rope_periods), tmp_path / "meta.pth")
    safetensors.torch.save_file(transformers_form(backbone), tmp_path / "transformers.safetensors")
    for path in (tmp_path / "meta.pth", tmp_path / "transformers.safetensors"):
        status, out, error = call("import", path)
        assert (status, error) == (0, "") and out.startswith("a backbone of the variant small is in the library (8")
    (one,) = backbone_store.entries()
    assert "(small, unnamed)" in call("list")[1] and backbone_store.find_named(SMALL.timm_model) is None
    status, out, error = call("import", small / "public", "--name", "small")
    assert (status, error) == (0, "") and out.startswith(f"the backbone {SMALL.timm_model} is in the library (8")
    assert call("import", one.path)[0] == 0  # a backbone folder knows its name
    assert [entry.path for entry in backbone_store.entries()] == [one.path]
    assert (one.path / "LICENSE.md").read_text(encoding="utf-8") == LICENSE
    assert call("import", small / "bundle")[0] == 0
    load_bundle("knee").build_network()
    assert not list(one.path.parents[1].glob(".partial*"))


def test_weights_are_given_to_new_trainings_only_under_the_name_that_the_user_says(call, small):
    satellite = SMALL.timm_model.replace("lvd1689m", "sat493m")
    one_error(call("import", small / "public", "--name", "base"), "variant small", "check the name")
    one_error(call("import", small / "public", "--name", "resnet50"), "no public backbone weights resnet50")
    one_error(call("import", small / "bundle", "--name", "small"), "is a model", "--name")
    assert call("import", small / "public", "--name", satellite)[0] == 0
    assert backbone_store.find_named(SMALL.timm_model) is None and backbone_store.find_named(satellite)
    one_error(call("import", small / "public", "--name", "small"), f"as {satellite} already")


def test_what_is_neither_model_nor_weights_is_refused_in_one_sentence(call, folder, travelling, tmp_path):
    (tmp_path / "text.zip").write_text("no zip", encoding="utf-8")
    (tmp_path / "text.pth").write_text("no weights", encoding="utf-8")
    (tmp_path / "empty").mkdir()
    torch.save({"weights": Path("x")}, tmp_path / "pickled.pth")
    for name in ("text.zip", "text.pth", "empty", "pickled.pth", "nothing"):
        one_error(call("import", tmp_path / name), name)
    one_error(call("import", travelling / "model.safetensors"), "model.safetensors")
    with zipfile.ZipFile(tmp_path / "w.zip", "w") as archive:
        archive.write(travelling / "model.safetensors", "model.safetensors")
    one_error(call("import", tmp_path / "w.zip"), "unpack it")
    odd = make_backbone_folder(tmp_path / "odd", make_bundle(variant=TINY))
    one_error(call("import", odd), "odd")  # weights, but of no variant
    assert not folder.exists() or not [path for path in folder.rglob("*") if path.is_file()]


def test_another_model_of_the_same_name_is_replaced_only_if_asked(call, travelling, tmp_path):
    call("import", travelling)
    other = make_travelling(tmp_path / "other", seed=1)
    one_error(call("import", other), "a model called knee already", "--overwrite")
    assert call("import", other, "--overwrite")[0] == 0


# export, and a machine without network


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


def test_a_removed_model_says_what_was_freed_and_that_its_backbone_stays(call, travelling):
    size = bytes_in_words(sum(p.stat().st_size for p in library.add(travelling).path.iterdir()))
    status, out, _ = call("remove", "knee")
    first, second = out.splitlines()
    assert status == 0 and first == f"the model knee is removed: {size} are free again."
    assert second.startswith(f"its backbone {TINY.timm_model} (") and "stays" in second
    assert [entry.name for entry in library.list_entries()] == ["phantom-tiny"] and len(backbone_store.entries()) == 1


@pytest.mark.parametrize("name", [TINY.timm_model, "small", "SHA-256"])
def test_a_backbone_is_removed_by_any_of_its_names_and_who_needs_it_is_told(call, travelling, name):
    library.add(travelling)
    name = backbone_store.entries()[0].sha256[:12] if name == "SHA-256" else name
    status, out, _ = call("remove", name)
    assert status == 0 and f"the backbone {TINY.timm_model} is removed from the library: " in out
    assert "models that need it: knee." in out and backbone_store.entries() == []


def test_a_backbone_is_removed_from_the_hub_s_cache_too(call, tmp_path):
    places = [put_into_cache(tmp_path, f"vit_{one}_patch16_dinov3_qkvb.lvd1689m") for one in ("base", "small_plus")]
    status, out, _ = call("remove", "base")
    assert status == 0 and "is removed from the hub's cache: 2.5 MB are free again." in out
    assert [place.exists() for place in places] == [False, True]


def test_names_that_fit_several_or_nothing_remove_nothing(call, tmp_path):
    places = [put_into_cache(tmp_path, f"vit_large_patch16_dinov3_qkvb.{one}") for one in ("lvd1689m", "sat493m")]
    one_error(call("remove", "large"), "several backbones", "lvd1689m", "sat493m")
    one_error(call("remove", "nothing"), "neither a model nor a backbone nothing")
    one_error(call("remove", "phantom-tiny"), "comes with the program")
    assert all(place.exists() for place in places)


# verify


def test_what_is_sound_is_verified_in_a_line_each(call, travelling):
    library.add(travelling)
    status, out, error = call("verify")
    assert (status, error) == (0, "")
    titles = ["the model phantom-tiny", "the model knee", f"the backbone {TINY.timm_model}"]
    assert out.splitlines() == [f"{title} is sound." for title in titles]
    assert call("verify", "small")[1].splitlines() == [f"{titles[2]} is sound."]


def test_what_is_damaged_is_told_in_a_line_each_and_ends_with_2(call, folder, travelling):
    library.add(travelling)
    sha256 = backbone_store.entries()[0].sha256
    flip(folder / "knee" / "model.safetensors")
    flip(folder / ".backbones" / sha256 / "model.safetensors")
    status, out, error = call("verify")
    assert status == 2 and out == "the model phantom-tiny is sound.\n"
    lines = error.splitlines()
    assert len(lines) == 3 and all(line.startswith("error: ") for line in lines)
    assert "the SHA-256 of model.safetensors is not the one in config.json" in lines[0]
    assert sha256 in lines[1] and "model.safetensors has another SHA-256" in lines[1]
    assert lines[2] == "error: damaged: 2 of 3; remove or replace what the lines above name."
    one_error(call("verify", "knee"), "the SHA-256 of model.safetensors")
    one_error(call("verify", "elbow"), "neither a model nor a backbone elbow")


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there, and the cache is kept without")
def test_what_is_in_the_hub_s_cache_is_compared_with_the_name_of_its_blob(call, tmp_path):
    place = put_into_cache(tmp_path, "vit_base_patch16_dinov3_qkvb.lvd1689m")
    title = "the backbone vit_base_patch16_dinov3_qkvb.lvd1689m in the hub's cache"
    status, out, _ = call("verify", "base")
    assert status == 0 and out.startswith(f"{title} is complete, but was not compared: ")
    weights = place / "snapshots" / "abc" / "model.safetensors"
    blob = place / "blobs" / hashlib.sha256(weights.read_bytes()).hexdigest()
    weights.replace(blob)
    weights.symlink_to(blob)
    assert call("verify", "base")[1] == f"{title} is sound.\n" and f"{title} is sound.\n" in call("verify")[1]
    flip(blob)
    one_error(call("verify", "base"), f"{title} is damaged", str(blob))
    put_into_cache(tmp_path, "vit_large_patch16_dinov3_qkvb.lvd1689m", complete=False)
    one_error(call("verify", "large"), "broke off")


# the authors' checkpoints, the hub, the licence


@pytest.fixture(scope="module")
def official(tmp_path_factory) -> list:
    """The arguments for a checkpoint of the variant small."""
    place, write = tmp_path_factory.mktemp("official"), official_files.write
    state = official_files.official_state(official_files.make_network(variant=SMALL))
    return [
        write(place / "checkpoint_final.pth", official_files.checkpoint_of(state)),
        "--plans",
        write(place / "plans.json", official_files.plans_table()),
        "--dataset",
        write(place / "dataset.json", official_files.dataset_table()),
    ]


def test_a_checkpoint_of_the_authors_becomes_a_model_of_the_library(call, folder, official):
    status, out, error = call("import-official", *official, "--name", "torso")
    assert (status, error) == (0, "") and "the slices of torso are taken to be axial" in out
    assert "the model torso is in the library (" in out
    assert [label.name for label in load_bundle("torso").labels] == ["liver", "lesion"]
    one_error(call("import-official", *official[:-1], folder / "none.json"), "none.json")
    one_error(call("import-official", *official, "--name", "torso"), "called torso already", "--name", "--overwrite")
    one_error(call("import-official", *official, "--name", "phantom-tiny"), "comes with the program", "--name")
    assert call("import-official", *official, "--name", "torso", "--overwrite")[0] == 0
    one_error(call("import", official[0]), "whole network", "import-official checkpoint_final.pth")
    assert not list(folder.glob(".partial*"))


def test_a_checkpoint_whose_name_is_taken_is_told_before_the_work(call, folder, official, travelling):
    library.add(travelling)
    missing = [folder / "none.pth", *official[1:]]
    one_error(call("import-official", *missing, "--name", "knee"), "called knee already")
    one_error(call("import-official", *missing, "--name", "x", "-o", folder / "knee"), "exists already", "--overwrite")


def test_a_checkpoint_of_the_authors_becomes_a_folder_or_zip(call, folder, official, tmp_path):
    status, out, _ = call("import-official", *official, "-o", tmp_path / "torso.zip")
    assert status == 0 and f"{tmp_path / 'torso.zip'} is written." in out
    load_bundle(tmp_path / "torso.zip").build_network()
    one_error(call("import-official", *official, "-o", tmp_path / "torso.zip"), "exists already")
    assert not folder.exists()


def test_the_licence_is_shown_accepted_and_remembered(call, monkeypatch):
    status, out, _ = call("license")
    assert status == 0 and license.URL in out and "not accepted yet" in out and "license --accept" in out
    assert "is accepted" in call("license", "--accept")[1]
    monkeypatch.setattr(license, "_accepted_here", False)
    assert "is accepted" in call("license")[1]


def hub_calls(hub, home, *calls, token=None):
    """Several commands in a process of its own that uses this hub; what each came to."""
    program = (
        "import json, sys\n"
        "from DinoUNetCore import command_line, models\n"
        "for arguments in json.loads(sys.argv[1]):\n"
        "    try:\n"
        "        command_line.run(lambda: models.main(arguments))\n"
        "    except SystemExit as end:\n"
        "        print(end.code)\n"
    )
    environment = {**os.environ, **hub.environment(home, token), "DINOUNET_MODELS": str(home / "models")}
    arguments = json.dumps([[str(argument) for argument in one] for one in calls])
    result = subprocess.run(
        [sys.executable, "-c", program, arguments],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "Traceback" not in result.stderr, result.stderr
    return result.stdout, result.stderr


def test_backbones_and_models_are_fetched_ahead(small, tmp_path):
    with HubStub() as hub:
        hub.add_folder("me/knee", small / "bundle")
        hub.add(f"timm/{SMALL.timm_model}", {"model.safetensors": bytes(300_000), "LICENSE.md": LICENSE})
        fetch = ["fetch", "small"]
        out, error = hub_calls(
            hub,
            tmp_path / "home",
            fetch,
            ["fetch", "tiny"],
            ["fetch", "small", "vit_dinov3.unknown", "--accept-dinov3-license"],
            ["fetch", "hf:me"],
            ["fetch", "hf:me/knee", "--accept-dinov3-license"],
            fetch,
            ["list"],
        )
    lines = out.splitlines()
    assert lines[:4] == ["2", "2", "2", "2"]
    assert lines[4].startswith("the model knee is in the library (")
    assert lines[6].startswith(f"the backbone {SMALL.timm_model} is in the hub's cache (300.0 kB)")
    assert lines[7:10:2] == ["0", "0"] and lines[6] == lines[8]
    (knee,) = (line for line in lines if line.startswith("knee"))
    assert "available" in knee and f"Hub's cache:  {tmp_path / 'home' / 'hub'}" in lines
    errors = [line for line in error.splitlines() if line.startswith("error: ")]
    assert len(errors) == 4
    assert "--accept-dinov3-license" in errors[0] and "no public backbone weights tiny; name a variant" in errors[1]
    assert "no public backbone weights vit_dinov3.unknown" in errors[2] and "owner/name" in errors[3]


def test_a_model_is_pushed_from_the_library_or_a_zip(small, tmp_path):
    archive = zipped(Path(shutil.copytree(small / "bundle", tmp_path / "knee")))
    with HubStub() as hub:
        out, error = hub_calls(
            hub,
            tmp_path / "home",
            ["import", small / "bundle"],
            ["push", "knee", "hf:writer/one", "--private"],
            ["push", archive, "hf:writer/two"],
            ["push", "knee", "writer/three"],
            token=WRITER,
        )
        assert f"{hub.url}/writer/one" in out and f"{hub.url}/writer/two" in out, error
        assert "writer/one" in hub.private and "writer/two" not in hub.private
        weights = (small / "bundle" / "model.safetensors").read_bytes()
        assert hub.repositories["writer/one"]["model.safetensors"] == weights
        assert hub.repositories["writer/two"]["model.safetensors"] == weights
    assert "error: writer/three is no repository of the hub; write hf:OWNER/NAME." in error
