"""Training with a backbone that the processes share out: the same as with a whole one in each."""

import json
from dataclasses import replace

import pytest
import torch
from backbone_files import metas_form
from joined_processes import in_processes
from small_dataset import write_small_dataset

from DinoUNetCore.errors import UserError
from DinoUNetCore.network.backbone import Backbone, ViTConfig
from DinoUNetCore.network.variants import VARIANTS
from DinoUNetCore.train import main as train
from DinoUNetCore.training.recipes import RECIPES

SMALL = replace(
    VARIANTS["tiny"],
    vit=ViTConfig(dim=64, depth=5, heads=4),
    taps=(1, 2, 3, 4),
    timm_model=VARIANTS["small"].timm_model,
)
# a batch that two processes cannot share evenly, in two parts
QUICK = ["--variant", "small", "--batch-size", "5", "--accumulate", "2", "--patch-size", "64", "64"]
QUICK += ["--iterations", "2", "--threads", "1", "--device", "cpu", "--spacing", "1", "1"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_small_dataset(tmp_path_factory.mktemp("data") / "balls")


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    torch.manual_seed(1)
    backbone = Backbone(SMALL.vit, SMALL.taps)
    path = tmp_path_factory.mktemp("weights") / "meta.pth"
    torch.save(metas_form(backbone, backbone.rope_periods.bfloat16()), path)
    return path


def train_whole_and_shared(processes, dataset, backbone, folder):
    """Runs with a whole backbone and with a shared one: resumed, with kept features, on from a bundle."""
    VARIANTS["small"] = SMALL
    RECIPES["fast"] = replace(RECIPES["fast"], repeat=1)
    for name, options in {"whole": [], "shared": ["--shard-backbone"]}.items():
        run = folder / name
        usual = [str(dataset), *QUICK, "--backbone", str(backbone), *options]
        train([*usual, "-o", str(run), "--epochs", "1"])
        train([*usual, "-o", str(run), "--epochs", "2", "--resume"])
        train([*usual, "-o", str(run / "fast"), "--epochs", "2", "--recipe", "fast"])
        train([*usual, "-o", str(run / "tuned"), "--epochs", "1", "--pretrained", str(run / "bundle")])


@pytest.fixture(scope="module")
def runs(dataset, backbone, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    in_processes(2, train_whole_and_shared, dataset, backbone, folder)
    return folder


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("run", [".", "fast", "tuned"])
def test_losses_and_measurements_are_those_of_a_whole_backbone(runs, run):
    histories = [read(runs / name / run / "checkpoints" / "last.json")["history"] for name in ("whole", "shared")]
    for ours, theirs in zip(*histories, strict=True):
        assert (ours["loss"], ours["dice"]) == (theirs["loss"], theirs["dice"])
    whole, shared = (read(runs / name / run / "metrics.json") for name in ("whole", "shared"))
    assert whole == shared
    assert len(shared["cases"]) == 1  # so that one of the processes had nothing to measure


def test_the_run_says_that_it_was_shared_and_its_bundle_does_not_need_to_be(runs, backbone):
    from DinoUNetCore import load_bundle

    assert read(runs / "shared" / "settings.json")["shard_backbone"] is True
    assert read(runs / "shared" / "manifest.json")["settings"]["shard_backbone"] is True
    whole, shared = (load_bundle(runs / name / "bundle", backbone) for name in ("whole", "shared"))
    assert shared.config["backbone"] == whole.config["backbone"] and not shared.stores_backbone
    networks = [bundle.build_network(torch.device("cpu"), torch.float32) for bundle in (whole, shared)]
    for (name, ours), theirs in zip(networks[0].state_dict().items(), networks[1].state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), name


@pytest.mark.parametrize("options", [["--train-backbone"], ["--backbone", "random"], ["--variant", "tiny"]])
def test_what_is_no_frozen_public_backbone_is_not_shared(dataset, backbone, tmp_path, options):
    given = [*QUICK, "--backbone", str(backbone), "--shard-backbone", *options]
    with pytest.raises(UserError, match="--shard-backbone is for a frozen backbone of public weights"):
        train([str(dataset), "-o", str(tmp_path / "run"), *given])
    assert not (tmp_path / "run").exists()
