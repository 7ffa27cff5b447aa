"""Bundles of ensembles: made of bundles, saved, loaded, carried elsewhere and used like any other."""

import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from travelling import TINY, make_backbone_folder, save_named

from DinoUNetCore.errors import UserError
from DinoUNetCore.inference.segmenter import Segmenter
from DinoUNetCore.resources import resources_folder
from DinoUNetCore.weights import library
from DinoUNetCore.weights.backbone_weights import BackboneWeights
from DinoUNetCore.weights.bundle import ModelBundle
from DinoUNetCore.weights.bundle_reading import load_bundle, unpack_bundle
from DinoUNetCore.weights.ensembling import ensemble
from DinoUNetCore.weights.exporting import export_bundle

POSTPROCESSING = {"postprocessing": {"keep_largest": ["three", "one"]}}


def changed(bundle, **config):
    return ModelBundle({**bundle.config, **config}, bundle.tensors, source=bundle.source)


@pytest.fixture
def x():
    return torch.randn(1, 1, 64, 96, generator=torch.Generator().manual_seed(3))


@torch.inference_mode()
def mean_logits(bundles, x):
    return torch.stack([bundle.build_network()(x) for bundle in bundles]).mean(dim=0)


def assert_same(logits, expected):
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5)


@pytest.fixture
def trained_along(random_bundle):
    """Three bundles, each with a backbone of its own."""
    return [random_bundle(seed=seed) for seed in range(3)]


@pytest.fixture
def frozen(folder, tmp_path, random_bundle):
    """Three bundles that name the same backbone, which lies in the folder of each."""
    first = random_bundle(variant=TINY)
    backbone = {key: tensor for key, tensor in first.tensors.items() if key.startswith("backbone.")}
    bundles = []
    for seed in range(3):
        own = random_bundle(seed=seed, variant=TINY)
        whole = ModelBundle(own.config | {"backbone": first.config["backbone"]}, {**own.tensors, **backbone})
        place = save_named(whole, f"fold {seed}", tmp_path / f"fold {seed}")
        make_backbone_folder(place / "backbone", first)
        bundles.append(load_bundle(place))
    return bundles


@pytest.mark.parametrize("name", ["together", "together.zip"])
def test_members_with_their_own_backbones_are_saved_and_loaded_as_one(trained_along, tmp_path, x, name):
    together = ensemble(trained_along, "together", training={"folds": 3})
    assert_same(together.build_network()(x), mean_logits(trained_along, x))
    together.save(tmp_path / name)
    again = load_bundle(tmp_path / name)
    assert (again.name, again.members, again.shares_backbone) == ("together", 3, False)
    assert torch.equal(again.build_network()(x), together.build_network()(x))
    assert "the mean of the logits of 3 networks" in again.card and "folds: 3" in again.card
    assert set(again.tensors) == {f"members.{i}.{key}" for i in range(3) for key in trained_along[0].tensors}


@pytest.mark.parametrize("name", ["together", "together.zip"])
def test_a_shared_frozen_backbone_is_named_once_and_built_once(frozen, tmp_path, x, name):
    together = ensemble(frozen)
    network = together.build_network()
    assert_same(network(x), mean_logits(frozen, x))
    assert len(network.backbones) == 1
    together.save(tmp_path / name)
    again = load_bundle(tmp_path / name, frozen[0].backbone_file)
    assert again.shares_backbone and not any("backbone" in key for key in again.tensors)
    assert torch.equal(again.build_network()(x), network(x))


def test_a_shared_backbone_that_is_stored_is_stored_once(trained_along, tmp_path, x):
    first = trained_along[0]
    backbone = {key: t for key, t in first.tensors.items() if key.startswith("backbone.")}
    bundles = [
        ModelBundle(bundle.config | {"backbone": first.config["backbone"]}, {**bundle.tensors, **backbone})
        for bundle in trained_along
    ]
    ensemble(bundles).save(tmp_path / "together")
    again = load_bundle(tmp_path / "together")
    assert {key for key in again.tensors if "backbone" in key} == set(backbone)
    assert_same(again.build_network()(x), mean_logits(bundles, x))


def test_an_ensemble_travels_with_its_backbone_and_is_verified(frozen, folder, tmp_path, x):
    together = ensemble(frozen, "together")
    together.save(tmp_path / "together")
    export_bundle(tmp_path / "together", tmp_path / "travel.zip", BackboneWeights(frozen[0].backbone_file))
    with zipfile.ZipFile(tmp_path / "travel.zip") as archive:
        assert "backbone/backbone.json" in archive.namelist()
    entry = library.add(tmp_path / "travel.zip")
    library.check(entry.path)
    assert torch.equal(load_bundle("together").build_network()(x), together.build_network()(x))


def test_an_ensemble_goes_through_the_pipe_to_an_engine(trained_along, tmp_path, x):
    together = ensemble(trained_along)
    together.save(tmp_path / "together")
    sent = unpack_bundle(library.pack(tmp_path / "together"), "what was sent")
    assert torch.equal(sent.build_network()(x), together.build_network()(x))


def test_the_segmenter_takes_an_ensemble_for_a_network(trained_along):
    image = sitk.GetImageFromArray(np.random.default_rng(0).normal(100, 20, (3, 40, 50)).astype(np.float32))
    one = Segmenter(trained_along[0], "cpu").segment(image)
    same = Segmenter(ensemble([trained_along[0]] * 3), "cpu").segment(image)
    mixed = Segmenter(ensemble(trained_along), "cpu", mirror=True).segment(image)
    one, same, mixed = (sitk.GetArrayFromImage(labels) for labels in (one, same, mixed))
    assert (one == same).mean() > 0.999 and (one != mixed).any()


def test_an_ensemble_in_a_short_dtype_gives_what_autocast_gives(trained_along, x):
    together = ensemble(trained_along)
    whole, short = together.build_network(), together.build_network(dtype=torch.bfloat16)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(short.features(x), whole.features(x))


def test_bundles_that_do_not_fit_are_refused_by_what_differs(trained_along, random_bundle, frozen):
    first = trained_along[0]
    record = first.config["backbone"]
    for other, message in (
        (random_bundle(labels={"one": 1, "two": 2, "four": 4}), "differ in labels"),
        (random_bundle(spacing=[2.0, 2.0]), "differ in input"),
        (random_bundle(variant=replace(TINY, fapm_rank=16)), "differ in network"),
        (ensemble(trained_along), "is an ensemble itself"),
        (changed(first, backbone=record | {"rope_periods": [1.0] * 4, "sha256": "0"}), "RoPE periods"),
    ):
        with pytest.raises(UserError, match=message):
            ensemble([first, other])
    with pytest.raises(UserError, match="names its backbone, and it is not that of the other members"):
        ensemble([frozen[0], changed(frozen[1], backbone=frozen[1].config["backbone"] | {"sha256": "0"})])
    with pytest.raises(UserError, match="1 to 64 members, not 0"):
        ensemble([])


@pytest.mark.parametrize(
    "change",
    [
        {"ensemble": {"members": 0, "shares_backbone": False}},
        {"ensemble": {"members": "3", "shares_backbone": False}},
        {"ensemble": {"members": 10**9, "shares_backbone": False}},
        {"ensemble": {"members": 3}},
        {"ensemble": [3]},
        {"postprocessing": {"keep_largest": ["nothing of this name"]}},
        {"postprocessing": []},
    ],
)
def test_a_config_that_misstates_its_ensemble_is_refused(trained_along, change):
    with pytest.raises(UserError, match="damaged"):
        changed(ensemble(trained_along), **change)


def test_a_bundle_with_another_number_of_members_than_stated_is_refused(trained_along):
    together = changed(ensemble(trained_along), ensemble={"members": 2, "shares_backbone": False})
    with pytest.raises(UserError, match=r"tensors are missing or unknown, such as members\.2\."):
        together.build_network()


def test_a_bundle_says_of_which_labels_one_piece_is_kept(random_bundle):
    bundle = random_bundle(labels={"one": 1, "two": 2, "three": 30})
    assert bundle.keep_largest == []
    assert changed(bundle, **POSTPROCESSING).keep_largest == [30, 1]


def test_a_bundle_of_the_first_format_version_is_still_read():
    bundle = load_bundle("phantom-tiny")
    config = json.loads((resources_folder() / "Models" / "phantom-tiny" / "config.json").read_text(encoding="utf-8"))
    assert config["format_version"] == 1
    assert bundle.members is None and bundle.keep_largest == []
    bundle.build_network()
