"""Segmenter with a region: the box's labels are those of the whole volume, at a fraction of the work."""

import numpy as np
import pytest
import SimpleITK as sitk
from limited_memory import LimitedMemory
from smooth_images import ORDERS, assert_same_grid, image_of, oblique, reordered, smooth, values

from DinoUNetCore.errors import UserError
from DinoUNetCore.inference.segmenter import Segmenter

pytestmark = pytest.mark.usefixtures("one_thread")


def box_of(labels, region):
    return labels[tuple(slice(start, stop) for start, stop in region[::-1])]


@pytest.mark.parametrize(
    ("shape", "spacing", "options"),
    [
        ((9, 40, 44), (1.0, 1.0, 2.0), {"context_slices": 3}),  # one tile
        ((3, 110, 120), (1.0, 1.0, 2.0), {"context_slices": 3}),  # many tiles
        ((3, 110, 120), (1.7, 0.6, 2.0), {"mirror": ["columns"]}),  # shrunk along rows, stretched along columns
        ((9, 40, 30), (2.0, 1.0, 1.0), {"plane": "sagittal"}),
        ((9, 20, 100), (1.0, 1.0, 2.0), {"plane": "coronal", "patch_size": [32, 64]}),
    ],
)
@pytest.mark.parametrize("direction", [np.eye(3), oblique()])
@pytest.mark.parametrize("batch_size", [1, 7])
def test_in_a_region_the_labels_are_those_of_the_whole_volume(
    random_bundle, shape, spacing, options, direction, batch_size
):
    segmenter = Segmenter(random_bundle(**options), "cpu", batch_size=batch_size, mirror="mirror" in options)
    image = image_of(smooth(shape), spacing, (3.0, -20.0, 7.5), direction.ravel().tolist())
    whole = values(segmenter.segment(image))
    i, j, k = image.GetSize()
    for region in (
        [[0, i], [0, j], [0, k]],
        [[i // 3, i // 2], [j // 4, j // 2], [k // 3, k - 1]],
        [[i - 2, i], [0, 1], [1, 2]],
    ):
        labels = segmenter.segment(image, region=region)
        assert_same_grid(labels, image)
        np.testing.assert_array_equal(box_of(values(labels), region), box_of(whole, region))
        outside = np.ones(shape, bool)
        box_of(outside, region)[:] = False
        assert not values(labels)[outside].any()


def test_a_region_follows_the_voxels_in_all_48_storage_orders(random_bundle):
    segmenter = Segmenter(random_bundle(context_slices=3, patch_size=[32, 32]), "cpu", batch_size=1)
    image = image_of(smooth((5, 12, 30)), (1.0, 1.1, 1.7), (3.0, -20.0, 7.5))
    reference = segmenter.segment(image, region=[[4, 20], [2, 9], [1, 4]])
    marked = sitk.Image(image.GetSize(), sitk.sitkUInt8)
    marked.CopyInformation(image)
    marked[4:20, 2:9, 1:4] = 1
    for permutation, flips in ORDERS:
        moved, inside = reordered(image, permutation, flips), values(reordered(marked, permutation, flips))
        region = [[int(index.min()), int(index.max()) + 1] for index in np.nonzero(inside)[::-1]]
        labels = segmenter.segment(moved, region=region)
        np.testing.assert_array_equal(values(labels), values(reordered(reference, permutation, flips)))


def test_an_array_has_the_region_s_size(random_bundle):
    segmenter = Segmenter(random_bundle(), "cpu")
    volume = segmenter.volume_of(image_of(smooth((9, 100, 90))))
    assert segmenter.label(volume, [[10, 60], [30, 50], [2, 7]]).shape == (5, 20, 50)


def test_only_what_a_region_needs_goes_through_the_network(random_bundle):
    bundle = random_bundle(context_slices=3)
    network = LimitedMemory(bundle.build_network(), 1000)
    segmenter = Segmenter(bundle, "cpu", batch_size=1, network=network)
    image = image_of(smooth((20, 320, 320)))  # 9 x 9 tiles a slice
    calls = []
    segmenter.segment(image, lambda *progress: calls.append(progress), region=[[100, 110], [310, 320], [4, 7]])
    assert sum(network.batches) == 3 * 2 * 1  # slices, columns and rows of tiles
    assert calls == [(0, 3), (1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(
    "region",
    [
        [[0, 9], [0, 8], [0, 3]],
        [[-1, 4], [0, 8], [0, 3]],
        [[4, 4], [0, 8], [0, 3]],
        [[5, 2], [0, 8], [0, 3]],
        [[0, 8], [0, 8]],
    ],
)
def test_a_region_that_is_no_box_of_the_image_is_refused(random_bundle, region):
    with pytest.raises(UserError, match="8 x 8 x 3 voxels"):
        Segmenter(random_bundle(), "cpu").segment(image_of(smooth((3, 8, 8))), region=region)
