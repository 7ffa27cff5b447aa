"""Learning rate, checkpoints and the reports of a training."""

import csv
import json

import pytest
import torch

from DinoUNetCore.errors import UserError
from DinoUNetCore.network.dino_unet import DinoUNet
from DinoUNetCore.training.checkpoints import load_checkpoint, save_checkpoint
from DinoUNetCore.training.recipes import RECIPES
from DinoUNetCore.training.report import draw_curves, write_log
from DinoUNetCore.training.schedule import poly_factor
from DinoUNetCore.volume.labels import default_labels


@pytest.fixture(scope="module")
def extras(shared):
    return json.loads((shared / "fixtures" / "extras.json").read_text(encoding="utf-8"))


def test_the_learning_rate_falls_as_the_authors(extras):
    rates = [1e-3 * poly_factor(epoch, 10) for epoch in range(10)]
    assert rates == pytest.approx(extras["poly_lr_1e-3_10_epochs"], rel=1e-9)


def test_the_learning_rate_rises_over_the_warmup_and_stays_while_the_end_is_unknown():
    assert poly_factor(0, 10, warmup=2) == 0
    assert poly_factor(1, None, warmup=2) == 0.5
    assert poly_factor(7, None, warmup=2) == 1
    assert poly_factor(10, 10) == 0


def test_a_checkpoint_brings_back_network_and_optimizer_exactly(tmp_path):
    torch.manual_seed(0)
    network = DinoUNet("tiny", num_classes=3)
    optimizer = RECIPES["default"].make_optimizer(network)
    x = torch.randn(2, 1, 64, 64)

    def step(network, optimizer):
        torch.manual_seed(5)
        optimizer.zero_grad()
        network.train()(x).square().mean().backward()
        optimizer.step()

    step(network, optimizer)
    save_checkpoint(tmp_path / "last.safetensors", network, optimizer, {"epoch": 3})
    torch.manual_seed(1)
    other = DinoUNet("tiny", num_classes=3)
    other_optimizer = RECIPES["default"].make_optimizer(other)
    assert load_checkpoint(tmp_path / "last.safetensors", other, other_optimizer) == {"epoch": 3}
    step(network, optimizer)
    step(other, other_optimizer)
    for (name, ours), theirs in zip(network.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), name


def test_a_frozen_backbone_is_not_stored_in_checkpoints(tmp_path):
    network = DinoUNet("tiny", train_backbone=False)
    save_checkpoint(tmp_path / "a.safetensors", network, None, {})
    import safetensors

    with safetensors.safe_open(tmp_path / "a.safetensors", "pt") as file:
        assert not any("backbone" in name for name in file.keys())  # noqa: SIM118


def test_a_damaged_or_foreign_checkpoint_is_refused(tmp_path):
    path = tmp_path / "last.safetensors"
    save_checkpoint(path, DinoUNet("tiny", num_classes=2), None, {})
    with pytest.raises(UserError, match="another network"):
        load_checkpoint(path, DinoUNet("tiny", in_channels=5))
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match="damaged"):
        load_checkpoint(path, DinoUNet("tiny"))


def test_log_and_curves_are_written_with_gaps_for_unknown_values(tmp_path):
    labels = default_labels({"liver": 1, "spleen": 2})
    history = [
        {"epoch": e, "loss": 1 / e, "mean_dice": 0.5, "dice": [0.5, None], "learning_rate": 1e-3, "seconds": 2.0}
        for e in (1, 2, 3)
    ]
    write_log(tmp_path / "log.csv", history, ["liver", "spleen"])
    rows = list(csv.DictReader((tmp_path / "log.csv").open(encoding="utf-8")))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert rows[0]["dice_liver"] == "0.5000" and rows[0]["dice_spleen"] == ""
    draw_curves(tmp_path / "curves.png", history, labels, "title")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
