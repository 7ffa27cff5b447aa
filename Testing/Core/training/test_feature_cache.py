"""Features of a frozen backbone, kept for samples that come again."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from small_dataset import write_small_dataset

from DinoUNetCore.network.backbone import Backbone, ViTConfig
from DinoUNetCore.network.dino_unet import DinoUNet
from DinoUNetCore.train import main as train
from DinoUNetCore.training import feature_cache
from DinoUNetCore.training.feature_cache import FeatureCache, make_feature_cache, stay_the_same
from DinoUNetCore.training.recipes import RECIPES

SIZE = (64, 96)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def backbone():
    torch.manual_seed(0)
    return Backbone(ViTConfig(dim=32, depth=4, heads=2), taps=(0, 1, 2, 3))


@pytest.fixture
def images():
    return torch.randn(5, 3, *SIZE, generator=torch.Generator().manual_seed(1))


def count_runs(backbone):
    """Collects how many images each run of the backbone gets."""
    runs = []
    backbone.vit.patch_embed.register_forward_hook(lambda module, given, output: runs.append(len(given[0])))
    return runs


def test_every_sample_runs_through_the_backbone_once_and_gives_the_same_ever_after(backbone, images, tmp_path):
    expected = backbone(images)
    runs = count_runs(backbone)
    cache = FeatureCache(tmp_path / "features", 5, backbone, SIZE, torch.float32)
    for numbers in ([0, 1], [1, 2, 3], [4, 0], [3, 2, 1, 0]):
        numbers = torch.tensor(numbers)
        for tap, right in zip(cache.taps(images[numbers], numbers), expected, strict=True):
            torch.testing.assert_close(tap, right[numbers], atol=1e-6, rtol=1e-6)
    assert runs == [2, 2, 1]


def test_short_dtypes_are_kept_as_they_come(backbone, images, tmp_path):
    cache = FeatureCache(tmp_path / "features", 5, backbone, SIZE, torch.bfloat16)
    numbers = torch.arange(5)
    with torch.autocast("cpu", torch.bfloat16):
        first, again = cache.taps(images, numbers), cache.taps(torch.zeros_like(images), numbers)
    assert first[0].dtype == torch.bfloat16
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert (tmp_path / "features").stat().st_size == 5 * 4 * 32 * (4 * 6) * 2


def test_a_disk_with_too_little_room_is_told_and_nothing_is_kept(backbone, tmp_path, monkeypatch):
    monkeypatch.setattr(feature_cache.shutil, "disk_usage", lambda path: SimpleNamespace(free=(2 << 30) + 1000))
    said = []
    assert make_feature_cache(tmp_path, 5, backbone, SIZE, torch.float32, said.append) is None
    assert "computed again in every epoch" in said[0] and not list(tmp_path.iterdir())


def test_features_stay_the_same_only_where_training_changes_nothing_before_them():
    assert stay_the_same(DinoUNet("tiny", train_backbone=False))
    assert not stay_the_same(DinoUNet("tiny", train_backbone=True))
    assert not stay_the_same(DinoUNet("tiny", train_backbone=False, in_channels=5))


def test_the_fast_recipe_keeps_features_while_it_trains_and_removes_them_at_the_end(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(RECIPES, "fast", replace(RECIPES["fast"], repeat=1))  # so that a short training repeats samples
    dataset = write_small_dataset(tmp_path / "data")
    options = ["--variant", "small", "--backbone", "random", "--recipe", "fast", "--epochs", "2", "--iterations", "1"]
    size = ["--batch-size", "2", "--patch-size", "64", "64", "--spacing", "1", "1", "--threads", "1"]
    train([str(dataset), "-o", str(tmp_path / "run"), *options, *size])
    assert "features are kept" in capsys.readouterr().out
    assert not (tmp_path / "run" / "features").exists()
    assert (tmp_path / "run" / "report.html").exists()
