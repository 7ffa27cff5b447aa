"""A user with an empty library and an empty cache of the hub, and models for them."""

from pathlib import Path

import pytest
from random_bundle import make_bundle
from travelling import SMALL, make_travelling, save_named, save_weights

from DinoUNetCore import command_line, models
from DinoUNetCore.weights import license


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
