"""`models import` and `models import-official`."""

import shutil
import zipfile
from pathlib import Path

import official_files
import pytest
import safetensors.torch
import torch
from backbone_files import metas_form, transformers_form
from models_command import one_error
from random_bundle import make_bundle
from travelling import LICENSE, SMALL, TINY, make_backbone_folder, make_travelling, zipped

from DinoUNetCore.weights import backbone_store, library
from DinoUNetCore.weights.bundle_reading import load_bundle


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
