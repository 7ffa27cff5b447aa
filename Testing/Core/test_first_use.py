"""The default path of a first-time user: one acceptance, one download, and everything later without a network."""

import json
import os
import subprocess
import sys

import pytest
from hub_stub import HubStub
from safetensors.torch import save
from small_dataset import write_small_dataset

from DinoUNetCore import load_bundle
from DinoUNetCore.network.dino_unet import DinoUNet
from DinoUNetCore.network.variants import VARIANTS

SMALL, TERMS = VARIANTS["small"].timm_model, "DINOv3 License: the terms"
QUICK = ["--epochs", "1", "--iterations", "1", "--batch-size", "2", "--patch-size", "64", "64", "--spacing", "1", "1"]


@pytest.fixture
def user(tmp_path):
    """Run a command as this user, whose home is empty at first, before a hub that has the weights of `small`."""
    with HubStub() as hub:
        weights = save(DinoUNet("small").backbone.vit.state_dict())
        hub.add(f"timm/{SMALL}", {"model.safetensors": weights, "LICENSE.md": TERMS})

        def run(*arguments, **variables) -> subprocess.CompletedProcess:
            environment = os.environ | hub.environment(tmp_path / "hub") | variables
            environment |= {"DINOUNET_MODELS": str(tmp_path / "models"), "DINOUNET_ACCEPT_DINOV3_LICENSE": ""}
            command = [sys.executable, "-m", *map(str, arguments)]
            return subprocess.run(
                command,
                env=environment,
                capture_output=True,
                text=True,
                encoding="utf-8",
                timeout=300,
                stdin=subprocess.DEVNULL,
            )

        run.hub = hub
        yield run


def test_one_acceptance_is_all_that_is_asked_of_a_first_time_user(user, tmp_path):
    dataset, run = write_small_dataset(tmp_path / "data"), tmp_path / "run"
    train = ["DinoUNetCore.train", dataset, "-o", run, *QUICK]
    refused = user(*train)
    assert refused.returncode == 2
    assert "DINOv3 License" in refused.stderr and "--accept-dinov3-license" in refused.stderr
    assert not run.exists() and not any(".safetensors" in request.path for request in user.hub.requests)

    trained = user(*train, "--accept-dinov3-license")
    assert trained.returncode == 0, trained.stderr
    assert f"weights come from timm/{SMALL}" in trained.stdout

    bundle = load_bundle(run / "bundle")
    assert bundle.config["backbone"]["name"] == SMALL and not bundle.stores_backbone
    assert bundle.config["architecture"]["variant"] == "small"

    # Later models and results need neither the flag nor the network.
    image, labels = dataset / "imagesTr" / "case_0_0000.nii.gz", tmp_path / "labels.nii.gz"
    segmented = user("DinoUNetCore.segment", "-m", run / "bundle", "-i", image, "-o", labels, HF_HUB_OFFLINE="1")
    assert segmented.returncode == 0 and labels.is_file(), segmented.stderr
    count = len(user.hub.requests)
    again = user("DinoUNetCore.train", dataset, "-o", tmp_path / "second", *QUICK)
    assert again.returncode == 0, again.stderr
    assert len(user.hub.requests) == count


def test_what_was_trained_along_from_public_weights_holds_their_licence(user, tmp_path):
    dataset, run = write_small_dataset(tmp_path / "data"), tmp_path / "run"
    trained = user("DinoUNetCore.train", dataset, "-o", run, *QUICK, "--train-backbone", "--accept-dinov3-license")
    assert trained.returncode == 0, trained.stderr
    assert (run / "bundle" / "LICENSE.md").read_text(encoding="utf-8") == TERMS
    config = json.loads((run / "bundle" / "config.json").read_text(encoding="utf-8"))
    assert config["backbone"]["stored"] and config["backbone"]["trained"]
    assert load_bundle(run / "bundle").licenses == {"LICENSE.md": TERMS}


def test_a_random_backbone_is_warned_about_in_the_bundle(user, tmp_path):
    run = tmp_path / "run"
    trained = user(
        "DinoUNetCore.train", write_small_dataset(tmp_path / "data"), "-o", run, *QUICK, "--backbone", "random"
    )
    assert trained.returncode == 0, trained.stderr
    assert "the backbone is random and frozen" in trained.stdout
    assert "the backbone is random and was not trained" in (run / "bundle" / "README.md").read_text(encoding="utf-8")
    assert not user.hub.requests
