"""The labels of dataset.json: classes, regions and the ignore label as nnU-Net writes them, and what is wrong."""

import pytest

from DinoUNetCore.errors import UserError
from DinoUNetCore.volume.label_scheme import LabelScheme
from DinoUNetCore.volume.label_table import read_label_scheme

BRATS = {"background": 0, "whole tumor": [1, 2, 3], "tumor core": [2, 3], "enhancing tumor": 3}


def read(labels, **table):
    return read_label_scheme({"labels": labels} | table, "dataset.json")


def test_classes_are_ordered_by_value_and_may_leave_gaps():
    scheme = read({"spleen": 9, "background": 0, "liver": [4]})
    assert scheme == LabelScheme({"background": 0, "liver": 4, "spleen": 9})
    assert list(scheme.labels) == ["background", "liver", "spleen"]


def test_regions_keep_the_order_of_the_table_and_get_the_values_to_write():
    scheme = read(BRATS, regions_class_order=[1, 2, 3])
    assert scheme.labels == {"background": 0, "whole tumor": 1, "tumor core": 2, "enhancing tumor": 3}
    assert list(scheme.regions.items()) == [
        ("whole tumor", [1, 2, 3]),
        ("tumor core", [2, 3]),
        ("enhancing tumor", [3]),
    ]


def test_the_order_of_writing_need_not_be_that_of_the_values():
    scheme = read({"background": 0, "edge": 2, "cell": [1, 2]}, regions_class_order=[2, 1])
    assert scheme.names == ["edge", "cell"] and scheme.written == [2, 1]


def test_an_ignore_label_is_no_structure():
    assert read({"background": 0, "liver": 1, "ignore": 2}) == LabelScheme({"background": 0, "liver": 1}, None, 2)
    assert read(BRATS | {"ignore": 4}, regions_class_order=[1, 2, 3]).ignore == 4


def test_without_lists_of_several_values_the_order_of_regions_means_nothing():
    assert read({"background": 0, "liver": 1}, regions_class_order=[5]).regions is None


@pytest.mark.parametrize(
    ("labels", "order", "sentence"),
    [
        (BRATS, None, "'regions_class_order' is missing"),
        (BRATS, [1, 2], r"'regions_class_order' is \[1, 2\], 2 values for 3 regions"),
        ({**BRATS, "none": 0}, [1, 2, 3, 0], "'background' and 'none' .* same value 0"),
        (BRATS, [1, 2, 2], "has 2 for the region 'enhancing tumor'"),
        (BRATS, [1, 3, 3], "has 3 for the region 'enhancing tumor'.* a value of its own"),
        (BRATS, [4, 2, 3], "has 4 for the region 'whole tumor'"),
        ({"background": 0, "whole": [0, 1], "core": 1}, [1, 1], r"region 'whole' .*\[0, 1\].* no background"),
        ({"background": 0, "whole": [1, 1], "core": 1}, [1, 1], "name each once"),
        ({"background": 0, "whole": []}, [], "write name: value"),
        ({"background": 0, "whole": ["1", 2]}, [1], "write name: value"),
        ({"whole": [1, 2], "core": 2}, [1, 2], "do not name the background"),
        ({"background": 0, "liver": 2, "ignore": 2}, None, "ignore label .* value 2; give it one above 2"),
        ({"background": 0, "whole": [1, 5], "core": 1, "ignore": 4}, [5, 1], "above 5"),
        ({"background": 0, "liver": 1, "ignore": [2, 3]}, None, "one value"),
        ({"background": 0, "ignore": 1}, None, "nothing but the background"),
        ({"background": 0, "air": 0, "liver": 1}, None, "'background' and 'air' .* same value 0"),
        ({"background": 0, " ": 1}, None, "empty name"),
    ],
)
def test_what_is_wrong_is_told_with_the_file(labels, order, sentence):
    with pytest.raises(UserError, match=sentence) as caught:
        read(labels, **({} if order is None else {"regions_class_order": order}))
    assert "dataset.json" in str(caught.value)
