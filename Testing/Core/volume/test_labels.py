"""Label tables: codes that are right, colours that can be told apart."""

import pytest

from DinoUNetCore.errors import UserError
from DinoUNetCore.volume.labels import Label, default_labels


def by_name(*names: str) -> dict[str, Label]:
    return {label.name: label for label in default_labels({name: value for value, name in enumerate(names, start=1)})}


def test_background_is_left_out_and_the_rest_ordered_by_value():
    labels = default_labels({"liver": 7, "background": 0, "spleen": 3})
    assert [(label.name, label.value) for label in labels] == [("spleen", 3), ("liver", 7)]


@pytest.mark.parametrize(
    "name", ["kidney_left", "left_kidney", "LeftKidney", "left kidney", "Kidney-Left", "KIDNEY_LEFT", "kidneyLeft"]
)
def test_sides_are_told_from_names_of_any_style(name):
    terms = by_name(name)[name].terminology
    assert (terms["type"]["value"], terms["modifier"]["value"]) == ("64033007", "7771000")


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("liver", "10200004"),
        ("Lungs", "39607008"),
        ("vertebrae", "51282000"),
        ("spine", "421060004"),
        ("spinal_cord", "2748008"),
        ("inferior_vena_cava", "64131007"),
        ("retinal vessel", "59820001"),
        ("urinary_bladder", "89837001"),
        ("hippocampus", "5366008"),
        ("nucleus", "84640000"),
    ],
)
def test_known_structures_have_their_snomed_code(name, code):
    assert by_name(name)[name].terminology["type"] == {
        "scheme": "SCT",
        "value": code,
        "meaning": by_name(name)[name].terminology["type"]["meaning"],
    }
    assert "modifier" not in by_name(name)[name].terminology


@pytest.mark.parametrize("name", ["Anterior", "liver tumour", "cortex", "x", "left"])
def test_unknown_structures_have_no_code(name):
    assert by_name(name)[name].terminology is None


def test_colours_of_a_torso_and_of_unknown_labels_can_be_told_apart():
    torso = "body lung_left lung_right liver spleen kidney_left kidney_right stomach colon aorta inferior_vena_cava"
    torso += " vertebrae spinal_cord heart bladder autochthon_left autochthon_right gallbladder pancreas"
    for names in (torso.split(), [f"structure {number}" for number in range(15)]):
        colors = [label.color for label in by_name(*names).values()]
        assert all(0 <= part <= 255 for color in colors for part in color)
        for number, one in enumerate(colors):
            for other in colors[:number]:
                assert sum(abs(a - b) for a, b in zip(one, other, strict=True)) > 40, (names[number], one, other)


def test_hundreds_of_labels_get_colours():
    assert len(default_labels({f"n{value}": value for value in range(500)})) == 499


@pytest.mark.parametrize("name", ["liver", "kidney_left", "something"])
def test_a_label_survives_json(name):
    label = by_name(name)[name]
    assert Label.from_json(label.to_json()) == label


@pytest.mark.parametrize(
    "data",
    [
        {"name": "a", "value": 0, "color": [1, 2, 3]},
        {"name": "a", "value": 1.5, "color": [1, 2, 3]},
        {"name": "", "value": 1, "color": [1, 2, 3]},
        {"name": "a", "value": 1, "color": [1, 2]},
        {"name": "a", "value": 1, "color": [1, 2, 300]},
        {"name": "a", "value": 1, "color": [1, 2, 3], "terminology": {"type": {"scheme": "SCT"}}},
        {"name": "a", "value": 1},
        "liver",
    ],
)
def test_unusable_labels_are_refused(data):
    with pytest.raises(UserError, match="is not a label"):
        Label.from_json(data)
