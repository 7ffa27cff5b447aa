"""What an engine downloads from a hub (a stub of one, over real HTTP): bundles, and the backbones that bundles name."""

import io
import time
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from engine_client import describe
from hub_stub import HubStub
from random_bundle import make_bundle
from travelling import TINY, make_travelling, save_named, save_weights

from DinoUNetCore.network.backbone import ViTConfig
from DinoUNetCore.weights import library, license

VARIANT = replace(TINY, vit=ViTConfig(256, 6, 4), timm_model="vit_made_up_dinov3.large_enough_for_progress")  # 19 MB
BACKBONE = f"timm/{VARIANT.timm_model}"
KNEE = {"name": "knee"}


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """A hub with a backbone, a bundle that names it ("knee"), and one that brings another one with it ("leg")."""
    folder, whole = tmp_path_factory.mktemp("files"), make_bundle(variant=VARIANT)
    with HubStub() as hub:
        hub.add_folder("some/knee", save_named(whole, "knee", folder / "knee"))
        hub.add_folder("some/leg", make_travelling(folder / "leg", "leg"))
        hub.add_folder(BACKBONE, save_weights(whole, folder / "backbone"))
        yield hub


@pytest.fixture
def start(hub, start_engine, tmp_path):
    """Starts engines with an empty cache and library, on whose machine the license has not been accepted."""

    def start():
        hub.requests.clear()
        environment = hub.environment(tmp_path / "hf") | {license.VARIABLE: "", "HF_HUB_ETAG_TIMEOUT": "30"}
        return start_engine(environment=environment)

    yield start
    hub.faults.hang = False


@pytest.fixture
def picture():
    return describe(sitk.GetImageFromArray(np.random.default_rng(0).normal(100, 20, (2, 40, 40)).astype(np.float32)))


def fetched(engine):
    """The engine, with the model in its library."""
    assert engine.ask("models", action="fetch", source="hf:some/knee").result["model"]["name"] == "knee"
    return engine


def test_a_bundle_is_passed_on_without_being_kept_in_the_library(start, hub, tmp_path):
    answer = start().ask("models", action="download", source="hf:some/knee")
    assert answer.result["total_bytes"] == len(answer.data)
    assert library.add(saved(tmp_path / "sent.zip", answer.data)).name == "knee"
    with zipfile.ZipFile(io.BytesIO(answer.data)) as archive:
        assert archive.read("model.safetensors") == hub.repositories["some/knee"]["model.safetensors"]
    assert not (tmp_path / "models" / "knee").exists()


def saved(path, data):
    path.write_bytes(data)
    return path


@pytest.fixture(autouse=True)
def own_library(monkeypatch, tmp_path):
    """That of the process that runs the tests."""
    monkeypatch.setenv(library.VARIABLE, str(tmp_path / "own"))


def test_only_names_of_the_hub_are_downloaded(start):
    for source in ("some/knee", "/etc", "hf:knee"):
        answer = start().ask("models", action="download", source=source)
        assert answer.code == "bad_input" and "give a folder or zip, or hf:owner/name" in answer.message


def test_without_the_license_no_backbone_is_downloaded(start, hub, picture):
    answer = fetched(start()).segment([picture], KNEE)
    assert answer.code == "license"
    assert license.URL in answer.message
    assert not any(BACKBONE in request.path for request in hub.requests)


def test_an_acceptance_in_a_request_counts_for_this_process_alone(start, picture, tmp_path):
    engine = fetched(start())
    assert engine.segment([picture], KNEE, accept_license=False).code == "license"
    answer = engine.segment([picture], KNEE, accept_license=True)
    stages = [event["stage"] for event in answer.named("progress")]
    assert answer.result["found"]
    assert stages.index("downloading") < stages.index("segmenting")
    assert all(0 <= event["fraction"] <= 1 for event in answer.named("progress"))
    assert not list((tmp_path / "models").glob(".dinov3*"))
    (tmp_path / "hf").rename(tmp_path / "moved")  # another engine, with an empty cache
    assert start().segment([picture], KNEE).code == "license"


def test_a_bundle_that_brings_its_backbone_needs_the_license(start):
    engine = start()
    fetch = {"action": "fetch", "source": "hf:some/leg"}
    assert engine.ask("models", **fetch).code == "license"
    assert engine.ask("models", **fetch, accept_license=True).result["model"]["name"] == "leg"


def test_an_acceptance_is_true_or_false(start):
    assert start().ask("models", action="list", accept_license="yes").code == "bad_request"


def test_a_download_is_cancelled_at_once(start, hub, picture):
    engine = fetched(start())
    hub.requests.clear()
    hub.faults.hang = True
    identity = engine.start_segmentation([picture], KNEE, accept_license=True)
    deadline = time.monotonic() + 30
    while not hub.requests and time.monotonic() < deadline:
        time.sleep(0.01)
    assert any(BACKBONE in request.path for request in hub.requests)
    started = time.monotonic()
    engine.request("cancel", target=identity)
    assert engine.answer(identity).code == "cancelled"
    assert time.monotonic() - started < 0.5
