"""Largest components and voxel counts."""

import numpy as np

from DinoUNetCore.inference.postprocessing import count_voxels, keep_largest_components


def test_only_the_largest_piece_of_each_value_stays():
    labels = np.zeros((6, 12, 12), np.uint16)
    labels[0:3, 1:4, 1:4] = 300
    labels[5, 1, 1] = 300
    labels[2:5, 8:11, 8:11] = 2
    labels[0, 8:10, 0] = 2
    expected = labels.copy()
    expected[5, 1, 1] = 0
    expected[0, 8:10, 0] = 0
    keep_largest_components(labels)
    np.testing.assert_array_equal(labels, expected)


def test_only_the_values_that_are_named_lose_their_smaller_pieces():
    labels = np.zeros((1, 4, 12), np.uint8)
    labels[0, 0, 1:4] = labels[0, 0, 6] = 1
    labels[0, 2, 1:4] = labels[0, 2, 6] = 2
    keep_largest_components(labels, [2])
    assert labels[0, 0].tolist() == [0, 1, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0]
    assert labels[0, 2].tolist() == [0, 2, 2, 2, 0, 0, 0, 0, 0, 0, 0, 0]
    keep_largest_components(labels, [])
    assert labels[0, 0, 6] == 1


def test_pieces_that_touch_at_a_corner_or_across_slices_are_one():
    labels = np.zeros((3, 4, 4), np.uint8)
    labels[0, 0, 0] = labels[1, 1, 1] = labels[2, 2, 2] = 1
    expected = labels.copy()
    keep_largest_components(labels)
    np.testing.assert_array_equal(labels, expected)


def test_of_equal_pieces_the_first_stays_in_a_flipped_view_too():
    stored = np.zeros((1, 3, 9), np.uint8)
    stored[0, 1, 1:3] = stored[0, 1, 6:8] = 1
    keep_largest_components(stored[:, :, ::-1])
    assert stored[0, 1].tolist() == [0, 0, 0, 0, 0, 0, 1, 1, 0]


def test_nothing_but_background_stays_nothing():
    labels = np.zeros((2, 3, 4), np.uint8)
    keep_largest_components(labels)
    assert not labels.any()
    assert count_voxels(labels) == {}


def test_voxels_are_counted_by_value_for_every_type():
    for dtype in (np.uint8, np.uint16, np.int32):
        labels = np.zeros((2, 3, 4), dtype)
        labels[0, 0] = 7
        labels[:, 1, 1] = 3
        assert list(count_voxels(labels).items()) == [(3, 2), (7, 4)]
