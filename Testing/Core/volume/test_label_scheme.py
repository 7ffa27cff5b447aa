"""What label values mean to a network: classes, regions, ignored voxels."""

import numpy as np

from DinoUNetCore.volume.label_scheme import LabelScheme

CLASSES = LabelScheme({"background": 0, "spleen": 7, "liver": 3})
REGIONS = LabelScheme(
    {"background": 0, "core": 2, "whole": 5, "enhancing": 3},
    {"whole": [1, 2, 3, 5], "enhancing": [3], "core": [2, 3]},
    ignore=9,
)


def test_classes_have_an_output_each_in_the_order_of_their_values():
    assert CLASSES.values == [0, 3, 7] and CLASSES.outputs == 3
    assert CLASSES.names == ["liver", "spleen"] and CLASSES.written == [3, 7]
    assert CLASSES.membership is None and CLASSES.ignore_index is None


def test_regions_have_an_output_each_in_the_order_in_which_they_are_written():
    assert REGIONS.values == [0, 1, 2, 3, 5] and REGIONS.outputs == 3
    assert REGIONS.names == ["whole", "enhancing", "core"] and REGIONS.written == [5, 3, 2]
    assert [label.name for label in REGIONS.described] == REGIONS.names
    assert REGIONS.membership.tolist() == [
        [False, False, False],
        [True, False, False],
        [True, False, True],
        [True, True, True],
        [True, False, False],
    ]


def test_values_become_class_indices_and_ignored_ones_the_last():
    assert CLASSES.class_indices(np.array([[7, 0], [3, 3]])).tolist() == [[2, 0], [1, 1]]
    assert REGIONS.ignore_index == 5
    assert REGIONS.class_indices(np.array([9, 5, 0, 2])).tolist() == [5, 4, 0, 2]


def test_more_values_than_a_byte_holds_are_told_apart():
    scheme = LabelScheme({str(value): value for value in range(256)}, None, 300)
    indices = scheme.class_indices(np.array([255, 300]))
    assert indices.tolist() == [255, 256] and indices.dtype == np.uint16


def test_pictures_show_of_several_regions_the_one_that_is_written_last_and_ignored_pixels_as_background():
    assert CLASSES.shown.tolist() == [0, 1, 2]
    assert REGIONS.shown.tolist() == [0, 1, 3, 3, 1, 0]


def test_regions_are_measured_by_all_their_values():
    assert CLASSES.structures == {"liver": 3, "spleen": 7}
    assert REGIONS.structures == {"whole": [1, 2, 3, 5], "enhancing": [3], "core": [2, 3], "ignore": 9}
