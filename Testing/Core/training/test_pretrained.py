"""Fine-tuning: what is taken over from a bundle into the network and into the plan."""

from dataclasses import replace

import pytest
import torch
from backbone_files import metas_form
from random_bundle import make_bundle
from small_dataset import write_small_dataset

from DinoUNetCore.dataset.plan import Plan
from DinoUNetCore.errors import UserError
from DinoUNetCore.files import read_json
from DinoUNetCore.network.dino_unet import DinoUNet
from DinoUNetCore.network.variants import VARIANTS
from DinoUNetCore.train import main as train
from DinoUNetCore.training.bundling import make_bundle as bundle_of
from DinoUNetCore.training.checkpoints import load_checkpoint
from DinoUNetCore.training.planning import plan_training
from DinoUNetCore.training.pretrained import load_pretrained, open_pretrained, pretrained_of_run
from DinoUNetCore.training.settings import Settings
from DinoUNetCore.training.start import make_network
from DinoUNetCore.volume.label_scheme import LabelScheme
from DinoUNetCore.volume.labels import default_labels
from DinoUNetCore.weights.backbone_weights import BackboneWeights
from DinoUNetCore.weights.dinov3 import load_backbone

TINY = VARIANTS["tiny"]
LABELS = {"ball": 1, "shell": 4}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_small_dataset(tmp_path_factory.mktemp("data") / "balls")


def saved(folder, **options):
    make_bundle(variant=TINY, **({"labels": LABELS, "patch_size": [64, 96]} | options)).save(folder / "model")
    return str(folder / "model")


def settings_for(dataset, model, **options):
    return Settings(str(dataset), variant="tiny", pretrained=model, device="cpu", **options)


def networks(dataset, model, **options):
    """The bundle's network, the one to be fine-tuned, and an input."""
    settings = settings_for(dataset, model, **options)
    plan = plan_training(settings).plan
    tuned = make_network(settings, plan, lambda text: None).eval()
    original = open_pretrained(settings).build_network("cpu")
    return original, tuned, torch.randn(2, tuned.in_channels, 64, 64)


def equal(first, second) -> bool:
    """Up to the order in which convolutions with other numbers of outputs add."""
    return torch.allclose(first, second, rtol=1e-4, atol=1e-5)


def test_a_training_begins_where_the_bundle_ended(dataset, tmp_path):
    original, tuned, image = networks(dataset, saved(tmp_path))
    with torch.inference_mode():
        assert torch.equal(original(image), tuned(image))
    assert all(parameter.requires_grad for parameter in tuned.parameters())


def test_fine_tuning_starts_at_the_dice_of_its_bundle(dataset, tmp_path):
    quick = ["--variant", "tiny", "--batch-size", "2", "--threads", "1"]
    first, second = tmp_path / "first", tmp_path / "second"
    train([str(dataset), "-o", str(first), *quick, "--patch-size", "64", "64", "--iterations", "8", "--epochs", "2"])
    begin = ["--pretrained", str(first / "bundle"), "--learning-rate", "1e-12", "--iterations", "1", "--epochs", "1"]
    train([str(dataset), "-o", str(second), *quick, *begin])
    best, tuned = (read_json(run / "checkpoints" / "last.json") for run in (first, second))
    assert read_json(second / "plan.json")["patch_size"] == [64, 64]
    # the running statistics of the batch norms move a little in one batch
    assert tuned["best"] == pytest.approx(best["best"], abs=0.02)
    metrics = [read_json(run / "metrics.json")["mean"]["dice"] for run in (first, second)]
    assert metrics[1] == pytest.approx(metrics[0], abs=0.02) and metrics[0] > 0.1


def test_structures_keep_their_outputs_by_name_and_new_ones_begin_at_random(dataset, tmp_path):
    labels = {"SHELL": 1, "liver": 2}  # the data set: ball 1, shell 4
    original, tuned, image = networks(dataset, saved(tmp_path, labels=labels))
    with torch.inference_mode():
        theirs, ours = original(image), tuned(image)
    assert equal(ours[:, [0, 2]], theirs[:, [0, 1]])
    assert not torch.isclose(ours[:, 1], theirs[:, 2]).all()
    again = networks(dataset, str(tmp_path / "model"))[1]
    assert torch.equal(again.decoder.head.weight, tuned.decoder.head.weight)  # the seed's


def test_fewer_structures_are_a_part_of_the_outputs(dataset, tmp_path):
    labels = {"one": 1, "ball": 2, "shell": 3, "other": 7}
    original, tuned, image = networks(dataset, saved(tmp_path, labels=labels))
    with torch.inference_mode():
        assert equal(tuned(image), original(image)[:, [0, 2, 3]])


def test_what_was_taken_over_is_said(dataset, tmp_path):
    settings = settings_for(dataset, saved(tmp_path, labels={"ball": 1, "liver": 2}))
    said = []
    make_network(settings, plan_training(settings).plan, said.append)
    assert said == [f"The training begins with the weights of {settings.pretrained} "
                    "(structures kept: ball; new: shell; dropped: liver)."]  # fmt: skip


def test_regions_have_no_output_for_the_background():
    bundle = make_bundle(variant=TINY, labels={"whole": 1, "core": 2})
    scheme = LabelScheme({"background": 0, "core": 1, "whole": 2}, {"core": [2], "whole": [1, 2]})
    network = DinoUNet(TINY, 1, scheme.outputs)
    load_pretrained(network, bundle, scheme)
    head = bundle.tensors["decoder.seg_layers.2.weight"]
    assert torch.equal(network.decoder.head.weight, head[[2, 1]])


def test_the_plan_presents_images_as_the_bundle_knows_them(dataset, tmp_path):
    model = saved(tmp_path, spacing=[0.7, 0.9], plane="coronal", context_slices=3)
    planned = plan_training(settings_for(dataset, model)).plan
    assert planned.spacing == [0.7, 0.9] and planned.patch_size == [64, 96] and planned.context_slices == 3
    assert planned.plane == "coronal"
    for field in ("spacing", "patch_size", "context_slices", "planes"):
        assert planned.reasons[field] == f"As in {model}, with whose weights the training begins."
    asked = plan_training(settings_for(dataset, model, spacing=(1, 1), patch_size=(128, 64), plane="axial")).plan
    assert asked.spacing == [1, 1] and asked.patch_size == [128, 64] and asked.plane == "axial"
    assert "asked for" in asked.reasons["spacing"]


def test_the_numbers_of_ct_are_kept(tmp_path):
    folder = write_small_dataset(tmp_path / "balls")
    table = folder / "dataset.json"
    table.write_text(table.read_text(encoding="utf-8").replace('"MR"', '"CT"'), encoding="utf-8")
    ct = {"scheme": "ct", "low": -100.0, "high": 300.0, "mean": 50.0, "std": 60.0}
    model = saved(tmp_path, channels=("CT",), normalization=[ct])
    plan = plan_training(settings_for(folder, model)).plan
    assert plan.normalization[0].to_json() == ct and "As in" in plan.reasons["normalization"]
    assert not any("was trained on" in warning for warning in plan.warnings)


def test_other_channels_are_warned_of_or_refused(dataset, tmp_path):
    model = saved(tmp_path, channels=("CT",))
    plan = plan_training(settings_for(dataset, model)).plan
    assert f"{model} was trained on CT; this data set has MR." in plan.warnings
    two = make_bundle(variant=TINY, labels=LABELS, channels=("T1", "T2"))
    two.save(tmp_path / "two")
    with pytest.raises(UserError, match=r"takes 2 images \(T1, T2\).*channels \(MR\); name another bundle"):
        plan_training(settings_for(dataset, str(tmp_path / "two")))
    with pytest.raises(UserError, match="--context-slices 3 does not suit"):
        plan_training(settings_for(dataset, model, context_slices=3))


def test_a_plan_of_the_users_own_must_suit_the_network(dataset, tmp_path):
    settings = settings_for(dataset, saved(tmp_path))
    plan = replace(plan_training(settings).plan, context_slices=3)
    with pytest.raises(UserError, match="takes 1 images, but the plan gives it 3"):
        make_network(settings, plan, lambda text: None)


def test_another_variant_or_an_ensemble_is_refused(dataset, tmp_path):
    model = saved(tmp_path)
    with pytest.raises(UserError, match="does not have the sizes of the variant small; add --variant tiny"):
        open_pretrained(replace(settings_for(dataset, model), variant="small"))
    make_bundle().save(tmp_path / "own")
    with pytest.raises(UserError, match="it is none that can be trained"):
        open_pretrained(settings_for(dataset, str(tmp_path / "own")))


def test_a_stored_backbone_is_frozen_or_trained_as_it_was_stored(dataset, tmp_path):
    small = replace(TINY, timm_model="vit_small_patch16_dinov3_qkvb.lvd1689m")  # has a public backbone, but stores one
    bundle = make_bundle(variant=small, labels=LABELS)
    bundle.licenses["LICENSE_DINOv3.md"] = "text"
    plan = plan_training(settings_for(dataset, saved(tmp_path))).plan
    network = DinoUNet(small, 1, 3, train_backbone=False)
    load_pretrained(network, bundle, LabelScheme(plan.labels))
    name = "backbone.vit.blocks.0.mlp.fc1.weight"
    assert torch.equal(network.state_dict()[name], bundle.tensors[name])
    made = bundle_of(network, plan, Settings("x", variant="small"), default_labels(plan.labels), {})
    assert made.stores_backbone and made.config["backbone"]["trained"] and "LICENSE_DINOv3.md" in made.licenses
    assert torch.equal(made.build_network().backbone.rope_periods, network.backbone.rope_periods)


def test_a_backbone_of_ones_own_is_refused_where_the_bundle_stores_it(dataset, tmp_path):
    settings = settings_for(dataset, saved(tmp_path), backbone="random")
    with pytest.raises(UserError, match=r"stores its backbone.*leave out --backbone"):
        make_network(settings, plan_training(settings).plan)


def test_a_frozen_public_backbone_must_be_the_one_that_the_bundle_names(dataset, tmp_path):
    small = replace(TINY, timm_model="vit_small_patch16_dinov3_qkvb.lvd1689m")
    plan = plan_training(settings_for(dataset, saved(tmp_path))).plan

    def with_backbone(seed):
        """A network on public weights from a file, frozen."""
        torch.manual_seed(seed)
        network = DinoUNet(small, 1, 3, train_backbone=False).eval()
        torch.save(metas_form(network.backbone, network.backbone.rope_periods), tmp_path / "weights.pth")
        load_backbone(network.backbone, BackboneWeights(tmp_path / "weights.pth"))
        return network

    trained = with_backbone(0)
    bundle = bundle_of(trained, plan, Settings("x", variant="small", backbone="f"), default_labels(plan.labels), {})
    assert not bundle.stores_backbone
    tuned, image = with_backbone(0), torch.randn(1, 1, 64, 64)
    load_pretrained(tuned, bundle, LabelScheme(plan.labels))
    with torch.inference_mode():
        assert equal(tuned(image), trained(image))
    with pytest.raises(UserError, match=r"not those that .* was trained with.*--backbone FILE"):
        load_pretrained(with_backbone(1), bundle, LabelScheme(plan.labels))


@pytest.fixture(scope="module")
def begun(dataset, tmp_path_factory):
    """A folder with a bundle "model", and "run": a training that began with it and has a checkpoint."""
    folder = tmp_path_factory.mktemp("begun")
    options = ["--variant", "tiny", "--batch-size", "2", "--threads", "1", "--iterations", "1", "--epochs", "1"]
    train([str(dataset), "-o", str(folder / "run"), *options, "--pretrained", saved(folder)])
    return folder


def resumed(begun, **given):
    return Settings.load(begun / "run" / "settings.json").resumed_with(given, begun / "run")


def test_a_training_goes_on_without_its_bundle_where_the_checkpoint_holds_all(begun):
    settings = resumed(begun, pretrained=str(begun / "gone"))
    plan = Plan.load(begun / "run" / "plan.json")
    network = make_network(settings, plan, lambda text: None, begun / "run")
    state = load_checkpoint(begun / "run" / "checkpoints" / "last.safetensors", network)
    assert len(state["history"]) == 1
    with pytest.raises(UserError, match=r"there is no model bundle .*gone"):  # to begin with
        make_network(settings, plan, lambda text: None, begun / "new")


def test_a_frozen_backbone_of_a_bundle_that_is_gone_is_asked_for(begun):
    settings = replace(resumed(begun), pretrained=str(begun / "gone"), train_backbone=False)
    with pytest.raises(UserError, match=r"goes on with the backbone of .*gone.*name it anew by --pretrained\."):
        pretrained_of_run(settings, begun / "run")
    moved = replace(settings, pretrained=str(begun / "model"))
    assert pretrained_of_run(moved, begun / "run").source == str(begun / "model")


def test_a_training_that_began_without_a_bundle_cannot_go_on_with_one(dataset, begun):
    with pytest.raises(UserError, match="--pretrained was None"):
        Settings(str(dataset)).resumed_with({"pretrained": str(begun / "model")}, begun)


def test_files_are_the_same_files_from_every_folder(dataset, begun, monkeypatch):
    monkeypatch.chdir(begun)
    names = {"dataset": "data", "plan": "run/plan.json", "groups": "groups.json", "pretrained": "model"}
    settings = Settings.from_dict(names | {"backbone": "weights.pth"})
    for name, text in (names | {"backbone": "weights.pth"}).items():
        assert getattr(settings, name) == str(begun / text)
    settings.save(begun / "settings.json")
    monkeypatch.chdir(begun / "run")
    loaded = Settings.load(begun / "settings.json")
    given = {"dataset": "../data", "plan": "plan.json", "groups": "../groups.json", "backbone": "../weights.pth"}
    assert loaded.resumed_with(given, begun) == loaded == settings
    assert loaded.resumed_with({"pretrained": "../elsewhere"}, begun).pretrained == str(begun / "elsewhere")
    with pytest.raises(UserError, match="--plan was"):
        loaded.resumed_with({"plan": "../plan.json"}, begun)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pretrained", "hf:owner/name"),
        ("pretrained", "phantom-tiny"),
        ("backbone", "hub"),
        ("backbone", "random"),
        ("backbone", "vit_small_patch16_dinov3_qkvb.lvd1689m"),
    ],
)
def test_what_names_no_file_stays_as_it_is(name, text):
    assert getattr(Settings.from_dict({"dataset": "data", name: text}), name) == text


def test_a_mistyped_bundle_is_told_before_any_case_is_read(dataset, tmp_path):
    counted = []
    for options in ({}, {"plan": str(tmp_path / "plan.json")}):
        settings = settings_for(dataset, str(tmp_path / "mistyped"), **options)
        with pytest.raises(UserError, match=r"there is no model bundle .*mistyped"):
            plan_training(settings, progress=lambda done, total: counted.append(done))
    assert counted == []
