"""Which axes are mirrored: told from the names of labels and from anatomy."""

import pytest
from equal_cases import plan_for

from DinoUNetCore.dataset.mirroring import directed_axes


@pytest.mark.parametrize(
    ("label", "axis"),
    [
        ("kidney_left", "left-right"),
        ("RightLung", "left-right"),
        ("Anterior", "anterior-posterior"),
        ("upper lobe", "superior-inferior"),
        ("inferior_vena_cava", "superior-inferior"),
    ],
)
def test_words_of_direction_are_found_in_any_spelling(label, axis):
    assert directed_axes(["liver", label]) == {axis: label}


@pytest.mark.parametrize("label", ["cleft", "bright spot", "vertebra_L1", "topology", "backbone", "Frontal"])
def test_words_that_only_contain_a_direction_are_none(label):
    assert directed_axes([label]) == {}


def test_abbreviations_count_where_labels_come_in_pairs():
    assert set(directed_axes(["kidney_L", "kidney_R"])) == {"left-right"}
    assert directed_axes(["vertebra_L1", "vertebra_L2", "rib R"]) == {}


@pytest.mark.parametrize(
    ("plane", "labels", "mirror"),
    [
        ("axial", ["kidney_left"], []),
        ("coronal", ["kidney_left"], []),
        ("sagittal", ["kidney_left"], []),
        ("axial", ["Anterior", "Posterior"], ["columns"]),
        ("coronal", ["upper lobe"], ["columns"]),
        ("axial", ["liver"], ["columns"]),
        ("sagittal", ["liver"], []),
    ],
)
def test_volumes_are_mirrored_left_to_right_at_most_and_not_where_labels_have_sides(plane, labels, mirror):
    table = {"background": 0, **{name: value for value, name in enumerate(labels, 1)}}
    plan = plan_for(labels=table, options={"plane": plane})
    assert plan.mirror == mirror
    assert "ows are not mirrored" in plan.reasons["mirror"]
    assert ("columns" in mirror) == ("olumns are not" not in plan.reasons["mirror"])


@pytest.mark.parametrize(
    ("label", "mirror"), [("right_lung", ["rows"]), ("top", ["columns"]), ("eye", ["rows", "columns"])]
)
def test_pictures_have_left_and_right_along_their_columns(label, mirror):
    plan = plan_for(size=(300, 200, 1), dimension=2, labels={"background": 0, label: 1})
    assert plan.mirror == mirror
