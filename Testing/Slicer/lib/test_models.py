"""The user's models as the module sees them, and how they are sent."""

import json
import shutil
import tracemalloc

import pytest

from DinoUNetCore.resources import resources_folder
from DinoUNetCore.weights.bundle_files import CONFIG, WEIGHTS
from DinoUNetCore.weights.bundle_reading import unpack_bundle
from DinoUNetSlicerLib.errors import UserError
from DinoUNetSlicerLib.models import find_model, packed
from DinoUNetSlicerLib.options import Options

EMBEDDED = "phantom-tiny"


@pytest.fixture
def models(monkeypatch, tmp_path):
    """The folder of the user's own models."""
    folder = tmp_path / "Modelle 肝"
    monkeypatch.setenv("DINOUNET_MODELS", str(folder))
    folder.mkdir()
    return folder


@pytest.fixture
def own(models):
    """A model of the user's own, in its folder."""
    shutil.copytree(resources_folder() / "Models" / EMBEDDED, models / "mine")
    return models / "mine"


def sent(model):
    size, pieces = packed(model)
    data = b"".join(pieces)
    assert len(data) == size
    return data


def test_what_is_sent_is_the_model(own):
    bundle = unpack_bundle(sent(find_model("mine")), "what was sent")
    assert bundle.config == find_model("mine").config
    bundle.build_network()


def test_a_zip_is_sent_as_its_folder_is(own, models):
    expected = sent(find_model("mine"))
    shutil.make_archive(str(models / "by hand"), "zip", own.parent, own.name)
    assert sent(find_model("by hand")) == expected


def test_a_backbone_that_travels_with_a_model_is_not_sent(own):
    expected = sent(find_model("mine"))
    (own / "backbone").mkdir()
    (own / "backbone" / "model.safetensors").write_bytes(b"large")
    assert sent(find_model("mine")) == expected


def test_of_a_large_model_only_a_piece_is_in_memory(own):
    with (own / WEIGHTS).open("r+b") as file:
        file.truncate(200_000_000)
    model = find_model("mine")
    tracemalloc.start()
    size, pieces = packed(model)
    assert sum(len(piece) for piece in pieces) == size > 200_000_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8_000_000


def test_a_model_that_vanishes_while_it_is_sent_is_named(own):
    _, pieces = packed(find_model("mine"))
    next(pieces)
    shutil.rmtree(own)
    with pytest.raises(UserError, match="mine is no model or is damaged"):
        list(pieces)


def test_an_ensemble_says_how_many_cases_it_was_trained_on(own):
    config = json.loads((own / CONFIG).read_text(encoding="utf-8"))
    config["training"] = {"data_set": "Balls", "cases": 25}
    (own / CONFIG).write_text(json.dumps(config), encoding="utf-8")
    assert "Trained on Balls (25 cases)" in find_model("mine").description
    config["training"] = {"data_set": "Balls"}
    (own / CONFIG).write_text(json.dumps(config), encoding="utf-8")
    assert "Trained on Balls\n" in find_model("mine").description


def test_the_largest_piece_is_left_to_the_model_unless_it_is_said():
    said = {keep: Options(keepLargest=keep).fields.get("keep_largest") for keep in (None, True, False)}
    assert said == {None: None, True: True, False: False}
