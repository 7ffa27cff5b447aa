"""From the authors' checkpoint, plans.json and dataset.json to a bundle whose output is that of their network."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from official_files import SIZES, checkpoint_of, dataset_table, make_network, official_state, plans_table, write
from smooth_images import assert_same_grid, image_of, smooth

from DinoUNetCore.errors import UserError
from DinoUNetCore.inference.segmenter import Segmenter
from DinoUNetCore.network.dino_unet import DinoUNet
from DinoUNetCore.network.variants import VARIANTS
from DinoUNetCore.weights.bundle_reading import load_bundle
from DinoUNetCore.weights.official import OfficialWeights, load_official_state_dict
from DinoUNetCore.weights.official_bundle import make_official_bundle

TAPS = SIZES.taps


@pytest.fixture
def files(tmp_path):
    """Writes the three files of a training and returns their paths."""

    def files(state, plans=None, dataset=None, **changes):
        plans = plans or plans_table()
        changes = {"init_args": {"plans": plans, "configuration": "2d", "fold": 0}} | changes
        return (
            write(tmp_path / "checkpoint_final.pth", checkpoint_of(state, **changes)),
            write(tmp_path / "plans.json", plans),
            write(tmp_path / "dataset.json", dataset or dataset_table()),
        )

    return files


@pytest.fixture(scope="module")
def state():
    return official_state(make_network())


def output_of(network, x):
    with torch.inference_mode():
        return network(x)


# The network ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("channels", "prefix"), [(1, ""), (2, "module."), (3, "module._orig_mod.")])
def test_the_saved_bundles_output_is_that_of_the_authors_network(files, tmp_path, channels, prefix):
    network = make_network(channels)
    state = official_state(network)
    bundle = make_official_bundle(
        *files(
            {prefix + name: tensor for name, tensor in state.items()},
            plans_table(channels),
            dataset_table(channels),
        ),
        taps=TAPS,
    )
    bundle.save(tmp_path / "bundle.zip")
    again = load_bundle(tmp_path / "bundle.zip").build_network()
    x = torch.randn(2, channels, 64, 96)
    assert again.in_channels == channels
    torch.testing.assert_close(output_of(again, x), output_of(network, x), rtol=0, atol=1e-4)
    theirs = load_official_state_dict(state, taps=TAPS)
    torch.testing.assert_close(output_of(again, x), output_of(theirs, x), rtol=0, atol=1e-4)


def test_of_more_than_three_channels_the_first_three_count_as_for_the_authors(files, state):
    bundle = make_official_bundle(*files(state, plans_table(5), dataset_table(5)), taps=TAPS)
    x = torch.randn(1, 5, 64, 64)
    theirs = output_of(load_official_state_dict(state, taps=TAPS), x[:, :3])
    torch.testing.assert_close(output_of(bundle.build_network(), x), theirs, rtol=0, atol=1e-4)
    assert "first three" in bundle.config["training"]["channels"]


def test_the_authors_numbers_come_out_of_the_bundle(shared, files, tmp_path):
    sys.path.insert(0, str(shared / "fixtures"))
    try:
        import rules
    finally:
        sys.path.pop(0)
    names = rules.state_from(shared / "fixtures" / "tiny_state.json")
    reference = np.load(shared / "fixtures" / "tiny.npz")
    paths = files({name: torch.from_numpy(array) for name, array in names.items()})
    make_official_bundle(*paths, taps=TAPS).save(tmp_path / "bundle")
    network = load_bundle(tmp_path / "bundle").build_network()
    output = output_of(network, torch.from_numpy(reference["input"]))
    np.testing.assert_allclose(output.numpy(), reference["output"], rtol=0, atol=1e-4)


@pytest.mark.parametrize("rounded", [False, True])
def test_rope_periods_of_the_checkpoint_are_kept(files, state, tmp_path, rounded):
    name = "encoder.dinov3_adapter.backbone.rope_embed.periods"
    periods = state[name].bfloat16().float() if rounded else state[name]
    make_official_bundle(*files(state | {name: periods}), taps=TAPS).save(tmp_path / "bundle")
    assert torch.equal(load_bundle(tmp_path / "bundle").build_network().backbone.rope_periods, periods)


@pytest.mark.parametrize("name", ["small", "base", "large", "7b"])
def test_every_size_of_the_authors_is_recognised(name):
    with torch.device("meta"):
        network = DinoUNet(name, 1, 2)
    weights = OfficialWeights.read(official_state(network))
    variant = VARIANTS[name]
    assert replace(weights.variant, vit=variant.vit) == variant
    assert {n: t.shape for n, t in weights.tensors.items()} == {n: t.shape for n, t in network.state_dict().items()}


def test_the_backbone_is_stored_and_named(files):
    with torch.device("meta"):
        sizes = official_state(DinoUNet("small", 1, 2))
    state = {name: torch.full(tensor.shape, 0.01) for name, tensor in sizes.items()}
    bundle = make_official_bundle(*files(state, dataset=dataset_table(labels={"background": 0, "liver": 1})))
    record = bundle.config["backbone"]
    assert (record["source"], record["stored"], record["trained"]) == ("official", True, False)
    assert record["name"] == VARIANTS["small"].timm_model
    assert bundle.config["architecture"]["variant"] == "small"
    assert bundle.name == "Dataset007_Torso-small"


def test_tensors_are_not_copied(tmp_path, files, state):
    paths = files(state)
    weights = OfficialWeights.read(state, TAPS)
    stored = weights.mapped_network(1).state_dict()
    name = "adapter.spm.fc1.weight"
    assert stored[name].data_ptr() == state["encoder.dinov3_adapter.spm.fc1.weight"].data_ptr()
    copied = sum(t.nbytes for n, t in stored.items() if t.data_ptr() not in {s.data_ptr() for s in state.values()})
    assert copied < 0.02 * sum(tensor.nbytes for tensor in stored.values())
    assert make_official_bundle(*paths, taps=TAPS).tensors[name].shape == stored[name].shape


# What the bundle says ---------------------------------------------------------------------------------------------


def test_the_bundle_says_what_the_files_say(files, state):
    bundle = make_official_bundle(*files(state, plans_table(scheme="CTNormalization")), taps=TAPS)
    assert [(label.name, label.value) for label in bundle.labels] == [("liver", 1), ("lesion", 2)]
    assert (bundle.dimension, bundle.plane, bundle.unit, bundle.context_slices) == (3, "axial", "mm", 1)
    assert (bundle.spacing, bundle.patch_size) == ((0.75, 1.25), (64, 96))
    assert bundle.normalization[0].to_json() == {
        "scheme": "ct",
        "low": -100.0,
        "high": 300.0,
        "mean": 80.5,
        "std": 40.25,
    }
    assert bundle.mirror == ["rows", "columns"]
    training = bundle.config["training"]
    assert (training["data_set"], training["trainer"], training["epochs"]) == (
        "Dataset007_Torso",
        "DinoUNetTrainer",
        200,
    )
    assert "authors' code" in training["trained_by"]
    assert bundle.config["metrics"] == {}  # nothing was measured, so nothing is claimed
    for words in ("Dataset007_Torso", "| 1 | liver |", "volumes (MR0)", "Not measured", "DINOv3 License"):
        assert words in bundle.card


def test_a_network_of_regions_finds_what_the_authors_would_write(files):
    network = make_network(classes=2)
    labels = {"background": 0, "whole": [1, 2], "core": [2], "ignore": 3}
    table = dataset_table(labels=labels, regions_class_order=[1, 2])
    bundle = make_official_bundle(*files(official_state(network), dataset=table), taps=TAPS)
    assert bundle.regions == [[1, 2], [2]] and bundle.label_values == [0, 1, 2]
    array = smooth((2, 64, 96), dtype=np.float32)
    labels = sitk.GetArrayFromImage(Segmenter(bundle, "cpu").segment(image_of(array, (1.25, 0.75, 5.0))))
    logits = output_of(network, torch.from_numpy((array - array.mean()) / array.std())[:, None]).numpy()
    expected = np.where(logits[:, 1] > 0, 2, logits[:, 0] > 0)
    assert (labels == expected).mean() > 0.999 and len(np.unique(labels)) > 1


def test_regions_in_another_number_than_the_networks_outputs_are_refused(files, state):
    table = dataset_table(labels={"background": 0, "whole": [1, 2], "core": 2}, regions_class_order=[1, 2])
    with pytest.raises(UserError, match=r"3 outputs.*names 2 \(whole, core\)"):
        make_official_bundle(*files(state, dataset=table), taps=TAPS)


def test_the_name_may_be_chosen(files, state):
    assert make_official_bundle(*files(state), "my liver", taps=TAPS).name == "my liver"


def test_licences_beside_the_checkpoint_go_into_the_bundle(files, state, tmp_path):
    paths = files(state)
    (tmp_path / "LICENSE.md").write_text("DINOv3 License\n\u00a7 1", encoding="utf-8")
    bundle = make_official_bundle(*paths, taps=TAPS)
    assert bundle.licenses == {"LICENSE.md": "DINOv3 License\n\u00a7 1"}
    bundle.save(tmp_path / "bundle")
    assert load_bundle(tmp_path / "bundle").licenses == bundle.licenses


# Segmenting -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("order", "plane"), [([0, 1, 2], "axial"), ([1, 0, 2], "coronal"), ([2, 0, 1], "sagittal")])
def test_a_volume_is_segmented_as_nnunet_would_slice_it(files, tmp_path, order, plane):
    network = make_network()
    with torch.no_grad():  # a head whose classes all win somewhere
        head = network.decoder.head
        features = network.features(torch.randn(1, 1, 64, 64))[0].flatten(1)
        head.bias.copy_(-(head.weight[:, :, 0, 0] @ features).mean(1))
    plans = plans_table(transpose_forward=order, spacing=[1.0, 1.0], patch_size=[64, 64])
    make_official_bundle(*files(official_state(network), plans), taps=TAPS).save(tmp_path / "bundle")
    shape = np.full(3, 64)
    shape[order[0]] = 5  # slices
    array = smooth(shape)
    image = image_of(array)
    labels = Segmenter(load_bundle(tmp_path / "bundle"), "cpu").segment(image)
    assert_same_grid(labels, image)

    step = 1 if plane == "axial" else -1  # rows run head first in our coronal and sagittal slices
    slices = array.astype(np.float32).transpose(order)[:, ::step]
    slices = torch.from_numpy(np.ascontiguousarray((slices - slices.mean()) / slices.std()))
    expected = output_of(network, slices[:, None]).argmax(1).numpy()[:, ::step].transpose(np.argsort(order))
    assert len(np.unique(expected)) > 1
    assert (sitk.GetArrayFromImage(labels) == expected).mean() > 0.999


def test_a_colour_picture_is_segmented(files, tmp_path):
    network = make_network(3)
    plans = plans_table(3, "RGBTo01Normalization", spacing=[1.0, 1.0], patch_size=[64, 96])
    plans |= {"image_reader_writer": "NaturalImage2DIO", "original_median_shape_after_transp": [1, 64, 96]}
    dataset = dataset_table(3, file_ending=".png")
    make_official_bundle(*files(official_state(network), plans, dataset), taps=TAPS).save(tmp_path / "bundle")
    bundle = load_bundle(tmp_path / "bundle")
    assert (bundle.dimension, bundle.unit) == (2, "pixel")
    pixels = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    labels = Segmenter(bundle, "cpu").segment(image_of(pixels, spacing=(0.26, 0.26), vector=True))
    x = torch.from_numpy(pixels.transpose(2, 0, 1).astype(np.float32) / 255)[None]
    expected = output_of(network, x).argmax(1)[0].numpy()
    assert (sitk.GetArrayFromImage(labels) == expected).mean() > 0.999


# What is refused --------------------------------------------------------------------------------------------------


def test_labels_that_are_not_the_networks_classes_are_refused(files, state):
    with pytest.raises(UserError, match=r"3 outputs.*dataset\.json names 2 \(background, liver\)"):
        make_official_bundle(*files(state, dataset=dataset_table(labels={"background": 0, "liver": 1})), taps=TAPS)


def test_plans_of_another_training_are_refused(files, state):
    checkpoint, _, dataset = files(state)
    other = write(checkpoint.with_name("other.json"), plans_table(dataset_name="Dataset001_Other"))
    with pytest.raises(UserError, match=r"Dataset007_Torso.*other\.json was made for Dataset001_Other"):
        make_official_bundle(checkpoint, other, dataset, taps=TAPS)


def test_the_configuration_of_the_checkpoint_is_the_one_used(files, state):
    plans = plans_table()
    plans["configurations"]["2d_fine"] = {"inherits_from": "2d", "spacing": [0.25, 0.25]}
    paths = files(state, plans, init_args={"configuration": "2d_fine"})
    assert make_official_bundle(*paths, taps=TAPS).spacing == (0.25, 0.25)
    paths = files(state, plans, init_args={"configuration": "3d_fullres"})
    with pytest.raises(UserError, match=r"plans\.json has no usable configuration '3d_fullres'"):
        make_official_bundle(*paths, taps=TAPS)


def test_slices_the_wrong_way_up_are_refused_where_training_did_not_mirror(files, state):
    coronal = plans_table(transpose_forward=[1, 0, 2])
    with pytest.raises(UserError, match=r"without mirroring rows.*coronal"):
        make_official_bundle(*files(state, coronal, inference_allowed_mirroring_axes=(1,)), taps=TAPS)
    assert make_official_bundle(*files(state, coronal, inference_allowed_mirroring_axes=(0,)), taps=TAPS).mirror == [
        "rows"
    ]


def test_foreign_weights_are_refused_with_the_files_name(files, state):
    with pytest.raises(UserError, match=r"checkpoint_final\.pth: .*not one of Dino U-Net's authors"):
        make_official_bundle(*files({"conv.weight": torch.zeros(1)}))
    name = "encoder.fapm.shared_basis.bias"
    with pytest.raises(UserError, match=r"checkpoint_final\.pth: .*fapm\.shared_basis\.bias is \(3,\)"):
        make_official_bundle(*files(state | {name: torch.zeros(3)}), taps=TAPS)
    with pytest.raises(UserError, match=r"checkpoint_final\.pth: no variant"):
        make_official_bundle(*files(state))


def test_files_given_in_the_wrong_order_are_refused(files, state):
    checkpoint, plans, dataset = files(state)
    with pytest.raises(UserError, match="swap"):
        make_official_bundle(checkpoint, dataset, plans, taps=TAPS)
    with pytest.raises(UserError, match=r"plans\.json is no checkpoint"):
        make_official_bundle(plans, checkpoint, dataset, taps=TAPS)
    with pytest.raises(UserError, match=r"cannot read .*checkpoint_final\.pth"):
        make_official_bundle(checkpoint, checkpoint, dataset, taps=TAPS)
