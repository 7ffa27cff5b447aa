"""The recipes: the authors' is theirs, number by number."""

import json

import pytest
import torch
from small_dataset import write_small_dataset

from DinoUNetCore.dataset.preprocessing import prepare_cases
from DinoUNetCore.network.dino_unet import DinoUNet
from DinoUNetCore.training.planning import plan_training
from DinoUNetCore.training.recipes import RECIPES
from DinoUNetCore.training.settings import Settings
from DinoUNetCore.training.trainer import Trainer


@pytest.fixture
def make_trainer(tmp_path):
    def make(**given):
        folder = tmp_path / "data"
        settings = Settings(str(folder if folder.exists() else write_small_dataset(folder)), "tiny", **given)
        planned = plan_training(settings)
        cases = prepare_cases(planned.dataset, planned.plan, tmp_path / "prepared")
        network = DinoUNet("tiny", num_classes=3)
        return Trainer(settings, planned.dataset, planned.plan, cases, network, tmp_path / "run", 0.0)

    return make


def test_the_authors_recipe_is_theirs(make_trainer):
    trainer = make_trainer(recipe="paper", precision="float32")
    optimizer, chosen = trainer.optimizer, trainer.optimizer.param_groups[0]
    assert type(optimizer) is torch.optim.SGD and len(optimizer.param_groups) == 1
    assert (chosen["momentum"], chosen["nesterov"], chosen["weight_decay"]) == (0.99, True, 3e-5)
    assert (trainer.epochs, trainer.iterations, trainer.step.clip) == (200, 250, 12)
    assert len(trainer.validation_loader.sampler) == 25 * trainer.plan.batch_size
    augmentation = trainer.augmentation.settings
    assert (augmentation.rotation_probability, augmentation.rotation) == (0.2, 180)
    ranges = {"scaling": (0.2, 0.7, 1.4), "noise": (0.1, 0, 0.1), "blur": (0.2, 0.5, 1)}
    ranges["low_resolution"] = (0.25, 0.5, 1)
    ranges |= dict.fromkeys(("brightness", "contrast"), (0.15, 0.75, 1.25))
    ranges |= {"gamma": (0.3, 0.7, 1.5), "inverted_gamma": (0.1, 0.7, 1.5)}
    for name, expected in ranges.items():
        chance = getattr(augmentation, name)
        assert (chance.probability, chance.low, chance.high) == expected, name
    assert augmentation.mirror == tuple(trainer.plan.mirror)
    assert trainer.features is None


def test_the_authors_learning_rates_are_used_epoch_by_epoch(make_trainer, shared):
    expected = json.loads((shared / "fixtures" / "extras.json").read_text(encoding="utf-8"))["poly_lr_1e-3_10_epochs"]
    trainer = make_trainer(recipe="paper", epochs=10)
    for epoch, rate in enumerate(expected):
        for iteration in (0, 100, 249):
            trainer._set_learning_rate(epoch, iteration)
            assert [group["lr"] for group in trainer.optimizer.param_groups] == pytest.approx([rate], rel=1e-12)


@pytest.mark.parametrize("recipe", ["default", "fast"])
def test_our_learning_rates_rise_and_fall_within_the_epochs(make_trainer, recipe):
    trainer = make_trainer(recipe=recipe, epochs=4)
    last = trainer.iterations - 1
    rates = [trainer._set_learning_rate(epoch, iteration) for epoch in range(4) for iteration in (0, last)]
    assert 0 < rates[0] < rates[1] < RECIPES[recipe].learning_rate
    assert rates[2:] == sorted(rates[2:], reverse=True) and 0 < rates[-1] < 0.01 * RECIPES[recipe].learning_rate


def test_norms_and_biases_do_not_decay_with_adamw():
    network = DinoUNet("tiny")
    decaying, others = RECIPES["default"].make_optimizer(network).param_groups
    assert decaying["weight_decay"] == 0.01 and others["weight_decay"] == 0
    assert all(p.ndim > 1 for p in decaying["params"]) and all(p.ndim <= 1 for p in others["params"])
    assert len(decaying["params"]) + len(others["params"]) == len(list(network.parameters()))
