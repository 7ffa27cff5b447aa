"""Segmenter on small random networks: geometry, bit-equality over storage orders, channels, tiles, errors."""

import math
import tracemalloc

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from limited_memory import LimitedMemory
from smooth_images import ORDERS, assert_same_grid, image_of, oblique, reordered, smooth, values

from DinoUNetCore.errors import UserError
from DinoUNetCore.inference.segmenter import Segmenter
from DinoUNetCore.memory import OutOfMemory
from DinoUNetCore.volume.volume import Volume

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(
    ("plane", "direction", "options"),
    [
        ("axial", np.eye(3), {}),
        ("sagittal", oblique(), {"context_slices": 3}),
        ("finest", oblique(math.pi / 4, 0, 0), {}),  # 45 degrees: no axis is nearer to the body's
    ],
)
def test_all_48_storage_orders_give_the_same_labels_to_the_bit(random_bundle, plane, direction, options):
    bundle = random_bundle(plane=plane, spacing=[1.3, 0.5], patch_size=[32, 32], mirror=["rows"], **options)
    segmenter = Segmenter(bundle, "cpu", keep_largest=True, mirror=plane == "finest")
    image = image_of(smooth((5, 11, 24)), (0.8, 1.1, 1.7), (3.0, -20.0, 7.5), direction.ravel().tolist())
    reference = segmenter.segment(image)
    assert len(np.unique(values(reference))) == 4
    for permutation, flips in ORDERS:
        moved = reordered(image, permutation, flips)
        labels = segmenter.segment(moved)
        assert_same_grid(labels, moved)
        # Flip and PermuteAxes move voxels only, so the reference may be moved alike.
        np.testing.assert_array_equal(values(labels), values(reordered(reference, permutation, flips)))


def test_labels_keep_the_grid_to_the_bit(random_bundle):
    direction = oblique().ravel().tolist()
    image = image_of(smooth((5, 30, 34)), (0.1 + 0.2, 1 / 3, 2.7), (1e-3, -math.pi, 1e3), direction)
    assert_same_grid(Segmenter(random_bundle(), "cpu").segment(image), image)


def test_oblique_volumes_are_cut_along_their_nearest_axes(random_bundle):
    # A tilt alone changes where slices lie in space, not what is on them.
    segmenter = Segmenter(random_bundle(), "cpu")
    array = smooth((5, 30, 34))
    straight = segmenter.segment(image_of(array))
    tilted = segmenter.segment(image_of(array, direction=oblique(0.2, 0.1, 0.1).ravel().tolist()))
    np.testing.assert_array_equal(values(straight), values(tilted))


def test_one_tile_without_resampling_is_the_network_on_the_slice(random_bundle):
    bundle = random_bundle()
    array = smooth((3, 50, 60), dtype=np.float32)
    labels = values(Segmenter(bundle, "cpu").segment(image_of(array)))
    network = bundle.build_network()
    with torch.inference_mode():
        normal = (array.astype(np.float64) - array.mean(dtype=np.float64)) / array.std(dtype=np.float64)
        logits = network(torch.from_numpy(normal.astype(np.float32))[:, None])
    assert (labels == logits.argmax(dim=1).numpy()).mean() > 0.9995


def test_resampled_slices_are_the_network_on_resampled_slices_brought_back(random_bundle):
    from DinoUNetCore.volume.resampling import resize

    bundle = random_bundle(spacing=[1.0, 1.0])
    array = smooth((2, 40, 90), dtype=np.float32)
    image = image_of(array, (0.5, 1.5, 4.0))
    network = bundle.build_network()
    with torch.inference_mode():
        normal = torch.from_numpy(((array - array.mean()) / array.std()).astype(np.float32))[:, None]
        logits = network(resize(normal, (60, 45)))
        expected = resize(logits, (40, 90)).argmax(dim=1).numpy()
    assert (values(Segmenter(bundle, "cpu").segment(image)) == expected).mean() > 0.999


@pytest.mark.parametrize("size", [(50, 60), (150, 100)])  # one tile, many tiles
def test_the_batch_size_does_not_change_the_labels(random_bundle, size):
    bundle = random_bundle(context_slices=3)
    image = image_of(smooth((7, *size)))
    results = [values(Segmenter(bundle, "cpu", batch_size=n).segment(image)) for n in (1, 3, 50, "auto")]
    for other in results[1:]:
        assert (results[0] == other).mean() > 0.9995  # rounding may decide a tie


def test_context_slices_are_seen(random_bundle):
    array = smooth((5, 40, 40))
    changed = array.copy()
    changed[0] = changed[0][::-1]
    for context, expected in ((1, [True, True]), (3, [False, True])):
        bundle = random_bundle(
            context_slices=context,
            normalization=[{"scheme": "ct", "low": -2000, "high": 2000, "mean": 500, "std": 200}],
        )
        segmenter = Segmenter(bundle, "cpu", batch_size=1)
        before, after = (values(segmenter.segment(image_of(volume))) for volume in (array, changed))
        assert not np.array_equal(before[0], after[0])
        assert [np.array_equal(before[i], after[i]) for i in (1, 2)] == expected


def test_values_of_labels_need_not_be_consecutive(random_bundle):
    image = image_of(smooth((3, 40, 40)))
    plain = values(Segmenter(random_bundle(), "cpu").segment(image))
    for names, pixel_id in (
        ({"a": 2, "b": 7, "c": 255}, sitk.sitkUInt8),
        ({"a": 2, "b": 7, "c": 256}, sitk.sitkUInt16),
        ({"a": 2, "b": 7, "c": 70000}, sitk.sitkInt32),
    ):
        labels = Segmenter(random_bundle(labels=names), "cpu").segment(image)
        assert labels.GetPixelID() == pixel_id
        np.testing.assert_array_equal(values(labels), np.array([0, *names.values()])[plain])


def test_more_than_256_classes_are_told_apart(random_bundle):
    bundle = random_bundle(labels={f"l{n}": n for n in range(1, 300)}, seed=3)
    labels = values(Segmenter(bundle, "cpu").segment(image_of(smooth((2, 64, 64)))))
    assert labels.max() > 255


def test_pictures_stay_2d_grey_and_colour(random_bundle):
    grey = image_of(smooth((50, 70), dtype=np.uint8), (0.5, 0.25))
    labels = Segmenter(random_bundle(dimension=2), "cpu").segment(grey)
    assert labels.GetDimension() == 2
    assert_same_grid(labels, grey)
    channels = [smooth((50, 70), seed, np.uint8) for seed in range(3)]
    colour = image_of(np.stack(channels, axis=-1), vector=True)
    bundle = random_bundle(channels=("R", "G", "B"), dimension=2, normalization=[{"scheme": "rgb"}] * 3)
    segmenter = Segmenter(bundle, "cpu")
    labels = segmenter.segment(colour)
    assert_same_grid(labels, colour)
    np.testing.assert_array_equal(values(labels), values(segmenter.segment([image_of(c) for c in channels])))
    assert not np.array_equal(values(labels), values(segmenter.segment([image_of(c) for c in channels[::-1]])))


def test_four_channels_come_as_a_list_as_components_or_as_a_volume(random_bundle):
    segmenter = Segmenter(random_bundle(channels=("T1", "T1c", "T2", "FLAIR")), "cpu")
    arrays = [smooth((3, 40, 44), seed) for seed in range(4)]
    images = [image_of(array) for array in arrays]
    expected = values(segmenter.segment(images))
    vector = image_of(np.stack(arrays, axis=-1), vector=True)
    np.testing.assert_array_equal(values(segmenter.segment(vector)), expected)
    np.testing.assert_array_equal(values(segmenter.segment(Volume.from_images(images, "case"))), expected)


@pytest.mark.parametrize("shape", [(1, 40, 50), (40, 1, 50), (40, 50, 1), (1, 1, 1), (1, 1, 30)])
def test_single_slices_and_single_voxels_are_segmented(random_bundle, shape):
    image = image_of(smooth((40, 50, 50))[tuple(slice(0, n) for n in shape)], (2.0, 3.0, 5.0))
    labels = Segmenter(random_bundle(context_slices=3), "cpu").segment(image)
    assert_same_grid(labels, image)


def test_constant_images_are_segmented(random_bundle):
    image = image_of(np.full((2, 30, 30), 1000, np.int16))
    assert_same_grid(Segmenter(random_bundle(), "cpu").segment(image), image)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int32, np.uint32, np.int64, np.float32, np.float64])
def test_the_type_of_voxels_does_not_matter(random_bundle, dtype):
    array = (smooth((2, 40, 40)) // 20).clip(0, 100).astype(dtype)
    segmenter = Segmenter(random_bundle(), "cpu")
    expected = values(segmenter.segment(image_of(array.astype(np.int16))))
    assert (values(segmenter.segment(image_of(array))) == expected).mean() > 0.9995


def test_mirroring_uses_the_axes_of_the_training(random_bundle):
    image = image_of(smooth((2, 64, 64)))
    results = {
        axes: values(Segmenter(random_bundle(mirror=list(axes)), "cpu", mirror=True).segment(image))
        for axes in ((), ("rows",), ("columns",), ("rows", "columns"))
    }
    plain = values(Segmenter(random_bundle(mirror=["rows"]), "cpu").segment(image))
    np.testing.assert_array_equal(results[()], plain)
    assert len({result.tobytes() for result in results.values()}) == 4


def test_mirroring_over_both_axes_makes_the_result_follow_a_mirrored_image(random_bundle):
    segmenter = Segmenter(random_bundle(mirror=["rows", "columns"]), "cpu", mirror=True)
    array = smooth((2, 64, 64))
    before, after = (values(segmenter.segment(image_of(a))) for a in (array, array[:, ::-1, ::-1].copy()))
    assert (before == after[:, ::-1, ::-1]).mean() > 0.999


def test_progress_counts_slices_and_may_end_the_run(random_bundle):
    segmenter = Segmenter(random_bundle(), "cpu", batch_size=2)
    image = image_of(smooth((5, 30, 30)))
    calls = []
    segmenter.segment(image, lambda done, total: calls.append((done, total)))
    assert calls == [(0, 5), (2, 5), (4, 5), (5, 5)]

    class Cancelled(Exception):  # noqa: N818
        pass

    def cancel(done, total):
        if done:
            raise Cancelled

    with pytest.raises(Cancelled):
        segmenter.segment(image, cancel)


def test_a_network_in_training_is_used_as_it_is_and_left_in_training(random_bundle):
    bundle, other = random_bundle(seed=0), random_bundle(seed=1)
    network = other.build_network().train()
    image = image_of(smooth((2, 40, 40)))
    labels = values(Segmenter(bundle, "cpu", network=network).segment(image))
    assert network.training
    np.testing.assert_array_equal(labels, values(Segmenter(other, "cpu").segment(image)))


def test_running_out_of_gpu_memory_halves_the_batch(random_bundle):
    bundle = random_bundle()
    image = image_of(smooth((7, 100, 60)))
    network = LimitedMemory(bundle.build_network(), 2)
    labels = Segmenter(bundle, "cpu", batch_size=16, network=network).segment(image)
    assert network.batches[:4] == [12, 6, 3, 1]  # three tiles a slice, seven slices: 4 + 3 rather than 5 + 2
    assert set(network.batches[4:]) == {1}
    expected = Segmenter(bundle, "cpu").segment(image)
    assert (values(labels) == values(expected)).mean() > 0.9995
    with pytest.raises(OutOfMemory, match="more memory"):
        Segmenter(bundle, "cpu", network=LimitedMemory(bundle.build_network(), 0)).segment(image)


def test_the_network_never_holds_more_than_a_batch(random_bundle):
    bundle = random_bundle(context_slices=3)
    network = LimitedMemory(bundle.build_network(), 4)
    for size in ((64, 64), (150, 64)):
        Segmenter(bundle, "cpu", batch_size=4, network=network).segment(image_of(smooth((9, *size))))
    assert max(network.batches) == 4


def test_no_copy_of_the_volume_is_made_beside_its_labels(random_bundle):
    segmenter = Segmenter(random_bundle(spacing=[3.0, 3.0], context_slices=3), "cpu", batch_size=4)
    volume = segmenter.volume_of(image_of(np.arange(120 * 96 * 96, dtype=np.int16).reshape(120, 96, 96) % 500))
    tracemalloc.start()
    segmenter.segment(volume)
    _, peak = tracemalloc.get_traced_memory()  # of NumPy's arrays
    tracemalloc.stop()
    assert peak < 2 * 120 * 96 * 96  # one byte per voxel for labels, and a few slices


def test_the_highest_probability_of_each_label_is_told_if_asked_for(random_bundle):
    bundle = random_bundle(labels={"one": 4, "two": 9, "three": 300})
    segmenter = Segmenter(bundle, "cpu")
    array = smooth((3, 50, 60), dtype=np.float32)
    highest = {}
    segmenter.label(segmenter.volume_of(image_of(array)), highest=highest)
    with torch.inference_mode():
        normal = torch.from_numpy((array - array.mean()) / array.std())[:, None]
        expected = bundle.build_network()(normal).softmax(dim=1).amax(dim=(0, 2, 3)).tolist()
    assert highest == pytest.approx(dict(zip([0, 4, 9, 300], expected, strict=True)), abs=1e-3)
    inside = {}
    segmenter.label(segmenter.volume_of(image_of(array)), [[0, 5], [0, 5], [1, 2]], highest=inside)
    assert all(inside[value] <= highest[value] for value in highest) and inside != highest


def test_a_check_is_made_before_every_part_of_the_network_and_can_stop_it_there(random_bundle):
    bundle = random_bundle()
    segmenter = Segmenter(bundle, "cpu", batch_size=1)
    volume = segmenter.volume_of(image_of(smooth((3, 50, 60))))
    count = 0

    def check():
        nonlocal count
        count += 1

    segmenter.label(volume, check=check)
    blocks = [*segmenter.network.backbone.vit.blocks, *segmenter.network.adapter.interactions]
    assert count > 3 * 5 * len(blocks)
    full = count

    class Stopped(Exception):  # noqa: N818
        pass

    def stop():
        check()
        if count == full + 17:
            raise Stopped

    with pytest.raises(Stopped):
        segmenter.label(volume, check=stop)
    segmenter.label(volume)
    assert count == full + 17  # nothing checks any longer


def test_slices_that_no_memory_holds_are_refused(random_bundle):
    with pytest.raises(UserError, match="80000 x 80000 pixels at the model's spacing"):
        Segmenter(random_bundle(), "cpu").segment(image_of(smooth((3, 8, 8)), (1e4, 1e4, 1.0)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: image_of(np.zeros((4, 8, 8, 3), np.uint8), vector=True), "3 channels.*takes 1 .MR."),
        (lambda: [image_of(smooth((3, 8, 8)))] * 2, "2 channels"),
        (lambda: image_of(np.full((3, 8, 8), np.nan, np.float32)), "NaN"),
        (lambda: sitk.Image(4, 4, sitk.sitkComplexFloat32), "complex"),
        (lambda: sitk.Image([4, 4, 4, 4], sitk.sitkFloat32), "4 dimensions"),
        (lambda: [image_of(smooth((3, 8, 8))), image_of(smooth((4, 8, 8)))], "another grid"),
        (lambda: [], "no image"),
    ],
)
def test_images_that_cannot_be_segmented_are_refused(random_bundle, make, message):
    with pytest.raises(UserError, match=message):
        Segmenter(random_bundle(), "cpu").segment(make())


def test_unknown_devices_and_batch_sizes_are_refused(random_bundle):
    with pytest.raises(UserError, match="device 'toaster'"):
        Segmenter(random_bundle(), "toaster")
    with pytest.raises(UserError, match="batch size is 0"):
        Segmenter(random_bundle(), "cpu", batch_size=0)
