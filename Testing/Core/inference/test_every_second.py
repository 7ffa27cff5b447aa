"""Fast mode: half the slices go through the network; those between are interpolated, in regions as in whole volumes."""

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from limited_memory import LimitedMemory
from smooth_images import ORDERS, assert_same_grid, image_of, oblique, reordered, smooth, values

from DinoUNetCore.inference.every_second import SlicesBetween
from DinoUNetCore.inference.probabilities import ProbabilityFiles
from DinoUNetCore.inference.region import Part
from DinoUNetCore.inference.segmenter import Segmenter
from DinoUNetCore.volume.geometry import PLANES

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("context_slices", [1, 3])
@pytest.mark.parametrize(("count", "seen"), [(1, [0]), (2, [0, 1]), (3, [0, 2]), (6, [0, 2, 4, 5]), (7, [0, 2, 4, 6])])
def test_even_slices_and_the_last_one_are_as_usual_and_others_come_from_their_neighbours(
    random_bundle, count, seen, context_slices
):
    bundle = random_bundle(context_slices=context_slices)
    array = smooth((9, 50, 60), dtype=np.float32)[:count]
    usual = values(Segmenter(bundle, "cpu", batch_size=1).segment(image_of(array)))
    network = LimitedMemory(bundle.build_network(), 1000)
    progress = []
    segmenter = Segmenter(bundle, "cpu", batch_size=1, fast=True, network=network)
    fast = values(segmenter.segment(image_of(array), lambda *numbers: progress.append(numbers)))
    assert sum(network.batches) == len(seen)
    assert progress[-1] == (len(seen), len(seen))
    np.testing.assert_array_equal(fast[seen], usual[seen])
    between = sorted(set(range(count)) - set(seen))
    expected = logits_of(bundle, array)
    for index in between:
        mean = (expected[index - 1] + expected[index + 1]) / 2
        assert (fast[index] == mean.argmax(axis=0)).mean() > 0.9995


def logits_of(bundle, array):
    """(slices, classes, rows, columns): the network's, of slices no larger than its patch."""
    normal = ((array - array.mean(dtype=np.float64)) / array.std(dtype=np.float64)).astype(np.float32)
    reach = bundle.context_slices // 2
    padded = np.concatenate([normal[:1]] * reach + [normal] + [normal[-1:]] * reach)
    channels = np.stack([padded[step : step + len(normal)] for step in range(bundle.context_slices)], axis=1)
    top, left = (32 - side // 2 for side in array.shape[1:])
    bottom, right = (64 - side - before for side, before in zip(array.shape[1:], (top, left), strict=True))
    network = bundle.build_network()
    with torch.inference_mode():
        seen = torch.nn.functional.pad(torch.from_numpy(channels), (left, right, top, bottom), mode="replicate")
        logits = network(seen)[:, :, top : top + array.shape[1], left : left + array.shape[2]]
    return logits.numpy()


@pytest.mark.parametrize(("count", "batch_size"), [(8, "auto"), (9, 1), (9, 2)])
@pytest.mark.parametrize(
    ("side", "options"),
    [(40, {"context_slices": 3}), (100, {"context_slices": 1}), (40, {"plane": "sagittal", "context_slices": 3})],
)
def test_in_a_region_the_labels_are_those_of_the_whole_volume(random_bundle, count, batch_size, side, options):
    segmenter = Segmenter(random_bundle(**options), "cpu", batch_size=batch_size, fast=True)
    image = image_of(smooth((count, side, 12 if "plane" in options else side)), direction=oblique().ravel().tolist())
    whole = values(segmenter.segment(image))
    i, j, k = image.GetSize()
    for first in (0, 1, 2, k - 2, k - 1):
        for end in {first + 1, k}:
            region = [[1, i - 2], [j // 4, j // 2], [first, end]]
            part = segmenter.label(segmenter.volume_of(image), region)
            np.testing.assert_array_equal(part, whole[first:end, j // 4 : j // 2, 1 : i - 2])


@pytest.mark.parametrize("direction", [np.eye(3), oblique()], ids=["straight", "tilted"])
def test_all_48_storage_orders_give_the_same_labels_to_the_bit(random_bundle, direction):
    segmenter = Segmenter(random_bundle(plane="sagittal", patch_size=[32, 32]), "cpu", fast=True)
    image = image_of(smooth((5, 11, 24)), (0.8, 1.1, 1.7), (3.0, -20.0, 7.5), direction.ravel().tolist())
    reference = segmenter.segment(image)
    for permutation, flips in ORDERS:
        moved = segmenter.segment(reordered(image, permutation, flips))
        np.testing.assert_array_equal(values(moved), values(reordered(reference, permutation, flips)))


@pytest.mark.parametrize(("plane", "axis"), [("axial", 0), ("coronal", 1), ("sagittal", 2)])
@pytest.mark.parametrize(("count", "seen"), [(1, [0]), (2, [0, 1]), (8, [0, 2, 4, 6, 7]), (9, [0, 2, 4, 6, 8])])
def test_on_a_tilted_grid_of_long_voxels_too_a_slice_between_two_has_the_mean_of_their_logits(
    random_bundle, tmp_path, plane, axis, count, seen
):
    """axis: of the array, that goes through the plane's slices. The logits are those of a plain run, but for what all
    classes have in common: the logarithms of its probabilities.
    """
    bundle = random_bundle(plane=plane, spacing=[0.9, 1.4], patch_size=[32, 32], context_slices=3)
    array = np.moveaxis(smooth((9, 34, 28))[:count], 0, axis)
    image = image_of(array, (0.8, 1.3, 3.5), (3.0, -20.0, 7.5), oblique().ravel().tolist())
    files = ProbabilityFiles(tmp_path, "usual", bundle.labels)
    usual = Segmenter(bundle, "cpu", batch_size=1).segment(image, probabilities=files)
    fast = Segmenter(bundle, "cpu", batch_size=1, fast=True).segment(image)
    assert_same_grid(fast, image)
    labels, expected = (np.moveaxis(values(image), axis, 0) for image in (fast, usual))
    np.testing.assert_array_equal(labels[seen], expected[seen])
    others = np.stack([np.moveaxis(values(sitk.ReadImage(str(path))), axis, 0) for path in files.paths])
    logits = np.log(np.maximum(np.stack([1 - others.sum(axis=0), *others]), 1e-12))
    for index in sorted(set(range(count)) - set(seen)):
        mean = (logits[:, index - 1] + logits[:, index + 1]) / 2
        assert (labels[index] == mean.argmax(axis=0)).mean() > 0.999


def test_of_several_planes_the_first_is_taken_unless_others_are_named(random_bundle):
    bundle = random_bundle(planes=list(PLANES), context_slices=3)
    image = image_of(smooth((9, 20, 26)))
    fast = values(Segmenter(bundle, "cpu", batch_size=1, fast=True).segment(image))
    one = Segmenter(bundle, "cpu", batch_size=1, fast=True, planes=[PLANES[0]]).segment(image)
    np.testing.assert_array_equal(fast, values(one))
    network = LimitedMemory(bundle.build_network(), 1000)
    fused = Segmenter(bundle, "cpu", batch_size=1, fast=True, planes=PLANES, network=network)
    labels = values(fused.segment(image))
    assert sum(network.batches) == 5 + 11 + 14  # of 9, 20 and 26 slices
    usual = values(Segmenter(bundle, "cpu", batch_size=1).segment(image))
    assert 0.7 < (labels == usual).mean() < 1
    region = [[3, 20], [4, 9], [1, 8]]
    np.testing.assert_array_equal(fused.label(fused.volume_of(image), region), labels[1:8, 4:9, 3:20])


def test_a_picture_is_segmented_as_usual(random_bundle):
    bundle = random_bundle(dimension=2)
    picture = image_of(smooth((40, 50)))
    usual, fast = (Segmenter(bundle, "cpu", fast=fast).segment(picture) for fast in (False, True))
    assert isinstance(fast, sitk.Image) and fast.GetDimension() == 2
    np.testing.assert_array_equal(values(fast), values(usual))


class Forgetful:
    """Keeps what is written, but runs out of memory at one of the writes."""

    def __init__(self, fails_at):
        self.fails_at, self.calls, self.kept = fails_at, 0, {}

    def write(self, features, index):
        self.calls += 1
        if self.calls == self.fails_at:
            raise MemoryError
        self.kept[index] = features.clone()


@pytest.mark.parametrize("fails_at", range(1, 10))
def test_slices_that_come_again_after_memory_ran_out_are_not_mixed_up(fails_at):
    seen, places = [0, 2, 4, 6, 8], [0, 1, 2, 3, 4]
    output = Forgetful(fails_at)
    between = SlicesBetween(output, seen, Part(slice(0, 9), slice(0, 1), slice(0, 1)))
    group = torch.zeros(1, 1, 1)  # what is handed over is used again for the next slice
    while places:
        try:
            for place in places[:3]:
                between.write(group.fill_(seen[place] ** 2), place)
            places = places[3:]
        except MemoryError:
            pass  # the whole group comes again
    assert {index: features.item() for index, features in output.kept.items()} == {
        index: index**2 if index % 2 == 0 else index**2 + 1 for index in range(9)
    }
