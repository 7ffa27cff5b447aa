"""Segmenting through the engine: to the bit what the segmenter gives, for all kinds of images, regions and models."""

import os
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from engine_client import Answer, describe, segment_fields

from DinoUNetCore.dataset.phantom import make_phantom
from DinoUNetCore.engine.channel import Channel
from DinoUNetCore.engine.job import Job
from DinoUNetCore.engine.models import Models
from DinoUNetCore.engine.protocol import FrameReader
from DinoUNetCore.engine.requests import parse_request
from DinoUNetCore.engine.segmentation import segment
from DinoUNetCore.inference.segmenter import Segmenter
from DinoUNetCore.volume.resampling import resample_onto
from DinoUNetCore.volume.volume import channel_arrays
from DinoUNetCore.weights import library
from DinoUNetCore.weights.bundle_reading import load_bundle

pytestmark = pytest.mark.usefixtures("one_thread")

TINY = {"name": "phantom-tiny"}
TYPES = ["|i1", "|u1", "<i2", ">i2", "<u2", "<i4", ">u4", "<i8", ">i8", "<u8", "<f4", ">f4", ">f8"]
TILT = [0.96, -0.28, 0.0, 0.28, 0.96, 0.0, 0.0, 0.0, 1.0]


@pytest.fixture(scope="module")
def tiny():
    return Segmenter(load_bundle("phantom-tiny"), "cpu")


def values(image):
    return channel_arrays(image)[0]


def noise(shape, dtype=np.float32, seed=0):
    smooth = sitk.DiscreteGaussian(sitk.GetImageFromArray(np.random.default_rng(seed).normal(size=shape)), 4.0)
    array = sitk.GetArrayFromImage(smooth)
    return (array / array.std() * 30 + 60).clip(0, 120).astype(dtype)


def image_of(array, spacing=(1.0, 1.0, 1.0), origin=(0.0, 0.0, 0.0), direction=None, vector=False):
    image = sitk.GetImageFromArray(array, isVector=vector)
    dimension = image.GetDimension()
    image.SetSpacing(spacing[:dimension])
    image.SetOrigin(origin[:dimension])
    if direction is not None:
        image.SetDirection(direction)
    return image


@pytest.fixture
def put(engine, tmp_path):
    """Gives a random bundle to the engine; returns how to ask for it."""

    def put(bundle):
        bundle.save(tmp_path / "bundle")
        sha256 = library.digest((tmp_path / "bundle" / "config.json").read_bytes())
        archive = library.pack(tmp_path / "bundle")
        identity = engine.request("models", action="put", sha256=sha256, total_bytes=len(archive))
        engine.send_data(identity, archive, 100_000)
        assert engine.answer(identity).result["model"]["sha256"] == sha256
        return {"sha256": sha256}

    return put


def test_the_result_is_the_segmenter_s_to_the_bit_and_says_what_it_is(engine, tiny, phantom):
    answer = engine.segment([describe(phantom)], TINY)
    expected = values(tiny.segment(phantom))
    np.testing.assert_array_equal(answer.labels, expected)
    result = answer.result
    assert result["size"] == list(phantom.GetSize())
    assert result["region"] == [[0, count] for count in phantom.GetSize()]
    assert (result["device"], result["precision"], result["dtype"]) == ("cpu", "float32", "|u1")
    counts = {str(value): int((expected == value).sum()) for value in np.unique(expected) if value}
    assert result["found"] == counts and counts
    assert [label["value"] for label in result["labels"]] == [label.value for label in tiny.bundle.labels]
    missing = {label["name"] for label in result["labels"] if str(label["value"]) not in counts}
    assert set(result["highest"]) == missing and all(0 <= p < 1 for p in result["highest"].values())
    assert result["seconds"] > 0


def test_events_come_in_order_and_progress_grows_to_one(engine, phantom):
    answer = engine.segment([describe(phantom)], TINY)
    kinds = [event["event"] for event in answer.events]
    assert kinds[0] == "progress" and set(kinds[: kinds.index("result")]) <= {"progress", "log"}
    assert set(kinds[kinds.index("result") + 1 :]) == {"data"}
    progress = answer.named("progress")
    fractions = [event["fraction"] for event in progress]
    assert fractions == sorted(fractions) and fractions[-1] == 1
    assert [event["stage"] for event in progress][:2] == ["preparing", "segmenting"]
    assert [event["data"] for event in answer.named("data")] == [0]


def test_cautions_come_before_the_work(engine, tiny, phantom):
    odd = sitk.Image(phantom)
    odd.SetSpacing([*phantom.GetSpacing()[:2], 99.0])
    events = engine.segment([describe(odd)], TINY).events
    texts = [event["text"] for event in events if event["event"] == "log" and event["level"] == "warning"]
    assert texts == tiny.cautions(tiny.volume_of(odd)) and texts
    stages = [event.get("stage", event["event"]) for event in events]
    assert stages.index("log") < stages.index("segmenting")


@pytest.mark.parametrize("dtype", TYPES)
def test_every_type_of_voxels_and_byte_order_gives_the_same(engine, put, random_bundle, dtype):
    bundle = random_bundle()
    model = put(bundle)
    array = noise((3, 40, 44), np.dtype(dtype).newbyteorder("="))
    image = image_of(array)
    header, voxels = describe(image, dtype)
    assert header["dtype"] == dtype
    np.testing.assert_array_equal(
        engine.segment([(header, voxels)], model).labels, values(Segmenter(bundle, "cpu").segment(image))
    )


@pytest.mark.parametrize("shape", [(1, 40, 50), (40, 1, 50), (40, 50, 1), (1, 1, 1)])
@pytest.mark.parametrize("direction", [None, TILT])
def test_single_slices_and_tilted_grids(engine, put, random_bundle, shape, direction):
    bundle = random_bundle(context_slices=3)
    image = image_of(noise((40, 50, 50))[tuple(slice(0, n) for n in shape)], (2.0, 3.0, 5.0), (7, 8, 9), direction)
    answer = engine.segment([describe(image)], put(bundle))
    np.testing.assert_array_equal(answer.labels, values(Segmenter(bundle, "cpu").segment(image)))


def test_a_colour_picture(engine, put, random_bundle):
    bundle = random_bundle(channels=("R", "G", "B"), dimension=2, normalization=[{"scheme": "rgb"}] * 3)
    array = np.stack([noise((50, 70), np.uint8, seed) for seed in range(3)], axis=-1)
    picture = image_of(array, (0.5, 0.25, 1.0), vector=True)
    header, voxels = describe(picture, size=[70, 50, 1])
    answer = engine.segment([(header, voxels)], put(bundle), dimension=2)
    np.testing.assert_array_equal(answer.labels[0], values(Segmenter(bundle, "cpu").segment(picture))[0])
    assert answer.result["size"] == [70, 50, 1]


def test_pictures_of_a_model_in_pixels_need_the_same_size_only(engine, put, random_bundle):
    model = put(random_bundle(channels=("A", "B"), dimension=2, unit="pixel"))
    images = [image_of(noise((1, 50, 70), seed=seed), (0.35, 0.35, 1.0)) for seed in range(2)]
    same = engine.segment([describe(image) for image in images], model, dimension=2).labels
    images[1].SetSpacing((0.26, 0.26, 1.0))
    np.testing.assert_array_equal(
        engine.segment([describe(image) for image in images], model, dimension=2).labels, same
    )
    other = describe(image_of(noise((1, 50, 60))), name="beta")
    answer = engine.segment([describe(images[0]), other], model, dimension=2)
    assert answer.code == "bad_input" and "beta" in answer.message and "one size" in answer.message


@pytest.mark.parametrize(
    ("labels", "dtype"),
    [({"a": 2, "b": 7, "c": 255}, "|u1"), ({"a": 2, "b": 7, "c": 256}, "<u2"), ({"a": 2, "b": 7, "c": 70000}, "<i4")],
)
def test_label_values_may_be_large_and_with_gaps(engine, put, random_bundle, labels, dtype):
    bundle = random_bundle(labels=labels)
    image = image_of(noise((3, 40, 44)))
    answer = engine.segment([describe(image)], put(bundle))
    assert answer.result["dtype"] == dtype
    np.testing.assert_array_equal(answer.labels, values(Segmenter(bundle, "cpu").segment(image)))
    assert set(answer.result["found"]) == {"2", "7", str(labels["c"])}


def test_the_options_arrive(engine, put, random_bundle):
    bundle = random_bundle(mirror=["rows", "columns"])
    image = image_of(noise((3, 64, 64)))
    options = {"device": "cpu", "threads": 1, "mirror": True, "keep_largest": True, "batch_size": 1}
    answer = engine.segment([describe(image)], put(bundle), options=options)
    expected = Segmenter(bundle, "cpu", mirror=True, keep_largest=True, batch_size=1).segment(image)
    np.testing.assert_array_equal(answer.labels, values(expected))
    assert not np.array_equal(answer.labels, values(Segmenter(bundle, "cpu").segment(image)))


def test_fast_mode_is_the_segmenters_and_is_told_with_the_result(engine, put, random_bundle):
    bundle = random_bundle(planes=["axial", "coronal"], context_slices=3)
    image, model = image_of(noise((9, 40, 44))), put(bundle)
    answer = engine.segment([describe(image)], model, options={"device": "cpu", "threads": 1, "fast": True})
    expected = Segmenter(bundle, "cpu", fast=True).segment(image)
    assert (answer.labels == values(expected)).mean() > 0.9995  # by rounding
    assert answer.result["options"] == "fast planes=axial"
    usual = engine.segment([describe(image)], model, options={"device": "cpu", "threads": 1})
    assert usual.result["options"] == ""


def test_a_limit_on_memory_is_said_to_have_no_effect_on_the_cpu(engine, put, random_bundle):
    bundle = random_bundle()
    image, model = image_of(noise((3, 40, 44))), put(bundle)
    answer = engine.segment([describe(image)], model, options={"device": "cpu", "threads": 1, "max_memory": 2.5})
    np.testing.assert_array_equal(answer.labels, values(Segmenter(bundle, "cpu").segment(image)))
    assert [event["text"] for event in answer.named("log") if "no effect on the CPU" in event["text"]]
    usual = engine.segment([describe(image)], model)
    assert not any("limit" in event["text"] for event in usual.named("log"))
    refused = engine.segment([describe(image)], model, options={"max_memory": 0})
    assert refused.code == "bad_request" and "max_memory is no number of GB above 0" in refused.message


def test_planes_are_fused_as_the_segmenter_does(engine, put, random_bundle):
    bundle = random_bundle(planes=["axial", "coronal"])
    image, model = image_of(noise((20, 30, 26))), put(bundle)
    for planes in (None, ["coronal", "axial"], ["coronal"]):
        answer = engine.segment([describe(image)], model, options={"device": "cpu", "threads": 1, "planes": planes})
        expected = Segmenter(bundle, "cpu", planes=planes).segment(image)
        assert (answer.labels == values(expected)).mean() > 0.9995  # by rounding
        fractions = [event["fraction"] for event in answer.named("progress") if event["stage"] == "segmenting"]
        assert fractions == sorted(fractions)
    refused = engine.segment([describe(image)], model, options={"planes": ["sagittal"]})
    assert refused.code == "bad_input" and "trained on axial, coronal slices, not on sagittal ones" in refused.message


def test_unless_asked_the_model_says_of_what_one_piece_is_kept(engine, put, random_bundle):
    bundle = random_bundle()
    bundle = replace(bundle, config=bundle.config | {"postprocessing": {"keep_largest": ["two"]}})
    image, model = image_of(noise((3, 40, 44))), put(bundle)
    found = {}
    for keep in (None, False, True):
        options = {"device": "cpu", "threads": 1, "keep_largest": keep}
        found[keep] = engine.segment([describe(image)], model, options=options).result["found"]
    assert found[None] == found[False] | {"2": found[True]["2"]}
    assert found[False] != found[None] != found[True]


def test_another_precision_is_used_and_told(engine, phantom):
    answer = engine.segment([describe(phantom)], TINY, options={"precision": "bfloat16", "device": "cpu"})
    assert answer.result["precision"] == "bfloat16"


@pytest.mark.parametrize("direction", [None, TILT, [0, 0, -1, -1, 0, 0, 0, 1, 0]])
def test_a_region_is_a_box_of_the_whole_result(engine, put, random_bundle, direction):
    model = put(random_bundle(context_slices=3))
    described = describe(image_of(noise((30, 40, 44)), direction=direction))
    options = {"device": "cpu", "threads": 1, "batch_size": 1}
    whole = engine.segment([described], model, options=options).labels
    region = [[5, 30], [17, 40], [3, 9]]
    answer = engine.segment([described], model, region=region, options=options)
    assert (answer.result["region"], answer.result["size"]) == (region, [25, 23, 6])
    np.testing.assert_array_equal(answer.labels, whole[3:9, 17:40, 5:30])
    assert sum(answer.result["found"].values()) == int((answer.labels != 0).sum())


def test_images_may_end_anywhere_in_the_data_frames(engine, put, random_bundle):
    bundle = random_bundle(channels=("A", "B"))
    model = put(bundle)
    images = [image_of(noise((2, 30, 30), np.int16, seed)) for seed in range(2)]
    described = [describe(image) for image in images]
    expected = values(Segmenter(bundle, "cpu").segment(images))
    for piece in (7, 1000, 10**6):
        identity = engine.request(**segment_fields([header for header, _ in described], model))
        engine.send_data(identity, b"".join(voxels for _, voxels in described), piece)
        np.testing.assert_array_equal(engine.answer(identity).labels, expected)


def test_images_on_another_grid_are_resampled_onto_the_first_s_and_this_is_said(engine, put, random_bundle):
    bundle = random_bundle(channels=("T1", "T2"))
    first = image_of(noise((6, 40, 44)), (1.0, 1.1, 2.0), (3, 4, 5))
    second = image_of(noise((9, 30, 33), np.int16, 1), (1.4, 1.5, 1.6), (0, 1, 2), TILT)
    answer = engine.segment([describe(first, name="T1 mprage"), describe(second, name="T2 space")], put(bundle))
    expected = Segmenter(bundle, "cpu").segment([first, resample_onto(second, first)])
    np.testing.assert_array_equal(answer.labels, values(expected))
    texts = [event["text"] for event in answer.named("log") if event["level"] == "info"]
    assert answer.result["options"] == "resample-channels"
    assert len(texts) == 1 and texts[0].startswith("T2 space is resampled onto T1 mprage: their sizes differ")
    assert "resampling" in [event["stage"] for event in answer.named("progress")]


def test_a_transform_brings_an_image_into_the_first_one_s_space(engine, put, random_bundle):
    bundle = random_bundle(channels=("CT", "PET"))
    model = put(bundle)
    first, second = (image_of(noise((6, 40, 44), seed=seed), (1.0, 1.1, 2.0)) for seed in range(2))
    moved = sitk.Image(second)
    moved.SetOrigin((-30.0, 12.0, 4.0))
    back = np.eye(4)
    back[:3, 3] = 30.0, -12.0, -4.0
    together = engine.segment([describe(first), describe(second)], model).labels
    answer = engine.segment([describe(first), describe(moved, transform=back.ravel().tolist())], model)
    assert (answer.labels == together).mean() > 0.999  # the resampling rounds
    expected = Segmenter(bundle, "cpu").segment([first, resample_onto(moved, first, "PET", back)])
    np.testing.assert_array_equal(answer.labels, values(expected))
    untouched = engine.segment([describe(first), describe(second, transform=np.eye(4).ravel().tolist())], model)
    np.testing.assert_array_equal(untouched.labels, together)
    assert not [event for event in untouched.named("log") if event["level"] == "info"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": [0, 4, 4]}, "CT is empty"),
        ({"spacing": [1, 0, 1]}, "CT has a spacing"),
        ({"spacing": [1, -2, 1]}, "CT has a spacing"),
        ({"spacing": [1e8, 1e8, 1]}, "CT would have slices of"),
        ({"direction": [1, 0.5, 0, 0, 1, 0, 0, 0, 1]}, "CT has sheared axes"),
        ({"direction": [0] * 9}, "CT has sheared axes"),
    ],
)
def test_images_that_cannot_be_used_are_refused_with_their_name(engine, phantom, changes, message):
    header, voxels = describe(phantom, **{"name": "CT", **changes})
    if header["size"][0] == 0:
        voxels = b""
    answer = engine.segment([(header, voxels)], TINY)
    assert answer.code == "bad_input" and message in answer.message


def test_voxels_that_are_no_numbers_and_channels_that_do_not_fit_are_refused(engine, phantom):
    array = sitk.GetArrayFromImage(phantom).astype(np.float32)
    array[3, 4, 5] = np.nan
    answer = engine.segment([describe(image_of(array), name="CT")], TINY)
    assert answer.code == "bad_input" and answer.message.startswith("CT has NaN voxels")
    answer = engine.segment([describe(phantom, name="CT")] * 2, TINY)
    assert answer.code == "bad_input" and "CT has 2 channels" in answer.message
    far = describe(phantom, name="PET", origin=[1e5, 0, 0])
    answer = engine.segment([describe(phantom), far], TINY)
    assert answer.code == "bad_input" and "PET does not overlap" in answer.message


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ({"device": "toaster"}, "bad_input", "toaster"),
        ({"device": "cuda:99"}, "bad_input", "cuda:99"),
        ({"device": "cpu", "precision": "float16"}, "bad_input", "float16"),
        ({"device": "cpu", "precision": "load"}, "bad_request", "load"),
    ],
)
def test_devices_and_precisions_that_are_not_there_are_refused_before_the_voxels_come(
    engine, phantom, options, code, message
):
    header, _ = describe(phantom)
    identity = engine.request(**segment_fields([header], TINY, options=options))
    if options.get("precision") == "float16":  # known when the model is on its device
        engine.send_data(identity, describe(phantom)[1])
    answer = engine.answer(identity)
    assert answer.code == code and message in answer.message


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_without_room_hands_over_to_the_cpu_and_says_so(tiny, phantom):
    reading, writing = os.pipe()
    header, voxels = describe(phantom)
    fields = segment_fields([header], TINY, options={"device": "cuda", "threads": 1})
    job = Job(parse_request(1, fields), Channel(writing))
    job.upload.add(0, bytearray(voxels))
    torch.cuda.set_per_process_memory_fraction(1e-4)
    try:
        segment(job, Models())
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    reader, answer = FrameReader(skip_banner=True), Answer([], bytearray())
    while not answer.complete:
        reader.feed(os.read(reading, 1 << 16))
        for frame in reader:
            answer.events.append(frame.fields)
            answer.data += frame.data
    assert answer.result["device"] == "cpu"
    assert any("CPU" in event["text"] for event in answer.named("log"))
    np.testing.assert_array_equal(answer.labels, values(tiny.segment(phantom)))


def test_images_in_all_orders_one_after_the_other_do_not_mix(engine, tiny):
    for seed in (5, 6, 7):
        image = make_phantom(seed, size=(40, 36, 4), random_orientation=True)[0]
        np.testing.assert_array_equal(engine.segment([describe(image)], TINY).labels, values(tiny.segment(image)))
