"""plans.json and dataset.json: what is understood gives the numbers of nnU-Net, the rest is refused by name."""

from pathlib import Path

import numpy as np
import pytest
from official_files import dataset_table, plans_table, write

from DinoUNetCore.errors import UserError
from DinoUNetCore.volume.geometry import Slicing
from DinoUNetCore.volume.intensity import fit
from DinoUNetCore.volume.label_scheme import LabelScheme
from DinoUNetCore.volume.volume import Grid
from DinoUNetCore.weights.nnunet_plans import read_nnunet_plans


@pytest.fixture
def read(tmp_path):
    def read(plans=None, dataset=None, **options):
        return read_nnunet_plans(
            write(tmp_path / "plans.json", plans_table() if plans is None else plans),
            write(tmp_path / "dataset.json", dataset_table() if dataset is None else dataset),
            **options,
        )

    return read


def test_the_files_of_volumes_are_understood(read):
    said = read()
    assert said.data_set == "Dataset007_Torso"
    assert said.channel_names == ["MR0"]
    assert said.scheme == LabelScheme({"background": 0, "liver": 1, "lesion": 2})
    assert (said.dimension, said.unit, said.plane, said.turned) == (3, "mm", "axial", ())
    assert (said.spacing, said.patch_size) == ((0.75, 1.25), (64, 96))
    assert said.intensity_range == [(-100.0, 300.0)]
    assert said.spacing_range == [(5.0, 5.0), (0.8, 0.8), (0.8, 0.8)]


def test_a_configuration_has_what_it_inherits(read):
    plans = plans_table()
    plans["configurations"]["wide"] = {"inherits_from": "2d", "patch_size": [128, 128]}
    plans["configurations"]["wider"] = {"inherits_from": "wide", "spacing": [2.0, 2.0]}
    said = read(plans, configuration="wider")
    assert (said.patch_size, said.spacing) == ((128, 128), (2.0, 2.0))
    assert said.normalization[0].scheme == "zscore"


# Pictures and volumes ---------------------------------------------------------------------------------------------


def test_pictures_count_in_pixels(read):
    plans = plans_table(original_median_shape_after_transp=[1, 512, 512], image_reader_writer="NaturalImage2DIO")
    said = read(plans, dataset_table(file_ending=".png"))
    assert (said.dimension, said.unit, said.plane, said.turned) == (2, "pixel", "axial", ())


def test_flat_images_in_other_formats_count_in_mm(read):
    said = read(plans_table(original_median_shape_after_transp=[1, 512, 512]))
    assert (said.dimension, said.unit) == (2, "mm")


def test_tiff_files_may_be_volumes(read):
    said = read(plans_table(image_reader_writer="Tiff3DIO"), dataset_table(file_ending=".tif"))
    assert (said.dimension, said.unit) == (3, "mm")


def test_pictures_that_were_turned_into_lines_are_refused(read):
    plans = plans_table(original_median_shape_after_transp=[512, 1, 640], transpose_forward=[1, 0, 2])
    with pytest.raises(UserError, match=r"plans\.json turns pictures"):
        read(plans, dataset_table(file_ending=".png"))


# Slices -----------------------------------------------------------------------------------------------------------


def directions(stored):
    """LPS direction of a volume whose K runs across slices of this plane, which are stored as they are looked at."""
    columns = {
        "axial": [(1, 0, 0), (0, 1, 0), (0, 0, 1)],
        "coronal": [(1, 0, 0), (0, 0, -1), (0, 1, 0)],
        "sagittal": [(0, 1, 0), (0, 0, -1), (1, 0, 0)],
    }[stored]
    return tuple(float(part) for row in zip(*columns, strict=True) for part in row)


@pytest.mark.parametrize(
    ("stored", "order", "plane", "turned"),
    [
        ("axial", [0, 1, 2], "axial", ()),
        ("axial", [1, 0, 2], "coronal", ("rows",)),
        ("axial", [2, 0, 1], "sagittal", ("rows",)),
        ("coronal", [0, 1, 2], "coronal", ()),
        ("coronal", [1, 0, 2], "axial", ()),
        ("sagittal", [0, 1, 2], "sagittal", ()),
    ],
)
def test_our_slices_hold_the_pixels_of_nnunets(read, stored, order, plane, turned):
    said = read(plans_table(transpose_forward=order), stored=stored)
    assert (said.plane, said.turned) == (plane, turned)
    array = np.random.default_rng(0).random((4, 5, 6))
    theirs = array.transpose(order)
    grid = Grid(array.shape[::-1], (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), directions(stored))
    ours = Slicing.of(grid, said.plane).cut(array)
    turned_back = ours[:, :: -1 if "rows" in turned else 1, :: -1 if "columns" in turned else 1]
    assert {picture.tobytes() for picture in theirs} == {picture.tobytes() for picture in turned_back}


def test_a_reader_that_turns_files_to_ras_says_how_slices_lie(read):
    said = read(plans_table(image_reader_writer="NibabelIOWithReorient"))
    assert (said.plane, said.turned) == ("axial", ("rows", "columns"))


@pytest.mark.parametrize(
    ("stored", "order"), [("axial", [0, 2, 1]), ("axial", [2, 1, 0]), ("coronal", [2, 0, 1]), ("sagittal", [1, 0, 2])]
)
def test_slices_with_rows_and_columns_swapped_are_refused(read, stored, order):
    with pytest.raises(UserError, match="rows and columns swapped"):
        read(plans_table(transpose_forward=order), stored=stored)


def test_an_unknown_plane_is_refused(read):
    with pytest.raises(UserError, match=r"oblique.*axial, coronal, sagittal"):
        read(stored="oblique")


# Intensities ------------------------------------------------------------------------------------------------------


def in_nnunets_way(scheme, image):
    """The formulas of nnU-Net for the statistics of `plans_table`."""
    return {
        "CTNormalization": lambda: (np.clip(image, -100, 300) - 80.5) / 40.25,
        "ZScoreNormalization": lambda: (image - image.mean()) / image.std(),
        "RGBTo01Normalization": lambda: image / 255,
        "NoNormalization": lambda: image,
    }[scheme]()


@pytest.mark.parametrize(
    "scheme", ["CTNormalization", "ZScoreNormalization", "RGBTo01Normalization", "NoNormalization"]
)
def test_intensities_are_normalised_as_nnunet_does(read, scheme):
    image = np.random.default_rng(0).integers(0, 256, (3, 20, 30)).astype(np.float32)
    (rescale,) = fit(read(plans_table(scheme=scheme)).normalization, [image])
    np.testing.assert_allclose(rescale(image), in_nnunets_way(scheme, image), rtol=1e-5, atol=1e-5)


def test_each_channel_has_its_own_normalisation(read):
    plans = plans_table(channels=2, normalization_schemes=["CTNormalization", "ZScoreNormalization"])
    said = read(plans, dataset_table(channels=2))
    assert [channel.scheme for channel in said.normalization] == ["ct", "zscore"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"normalization_schemes": ["RescaleTo01Normalization"]}, "RescaleTo01Normalization"),
        ({"normalization_schemes": ["MyOwn"]}, "MyOwn"),
        ({"use_mask_for_norm": [True]}, "use_mask_for_norm"),
    ],
)
def test_normalisations_that_we_do_not_have_are_refused_by_name(read, changes, message):
    with pytest.raises(UserError, match=f"{message}.*not supported"):
        read(plans_table(**changes))


# Labels and channels ----------------------------------------------------------------------------------------------


def test_an_ignore_label_is_no_class(read):
    said = read(dataset=dataset_table(labels={"ignore": 2, "organ": [1], "background": 0}))
    assert said.scheme.outputs == 2 and said.scheme.labels == {"background": 0, "organ": 1}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": {"background": 0, "whole": [1, 2], "core": 2}}, "regions.*'regions_class_order' is missing"),
        ({"labels": {"background": 0, "liver": 1, "spleen": 3}}, "0, 1, 3"),
        ({"labels": {"liver": 1, "spleen": 2}}, "do not name the background"),
        ({"labels": {"background": 0}}, "nothing but the background"),
        ({"labels": {"0": "background", "1": "liver"}}, "'background'.*whole number"),
        ({"channel_names": {"1": "CT"}}, "channel_names"),
        ({"channel_names": {}}, "channel_names"),
        ({"channel_names": {"0": "T1", "1": "T2"}}, r"1 channel\(s\).*names 2 \(T1, T2\)"),
        ({"file_ending": None}, "file_ending"),
    ],
)
def test_what_a_data_set_must_say_is_missed_by_name(read, changes, message):
    with pytest.raises(UserError, match=message) as caught:
        read(dataset=dataset_table(**changes))
    assert "dataset.json" in str(caught.value)


def test_the_old_name_of_channel_names_is_understood(read):
    dataset = dataset_table(modality={"0": "CT"})
    del dataset["channel_names"]
    assert read(dataset=dataset).channel_names == ["CT"]


# Files ------------------------------------------------------------------------------------------------------------


def test_swapped_files_are_recognised(read):
    with pytest.raises(UserError, match=r"plans\.json describes a data set and .*dataset\.json holds the plans; swap"):
        read(dataset_table(), plans_table())


@pytest.mark.parametrize("content", [[], {}, {"configurations": []}, dataset_table()])
def test_another_file_in_the_place_of_plans_is_refused(read, content):
    with pytest.raises(UserError, match=r"plans\.json is no plans\.json"):
        read(content)


@pytest.mark.parametrize("content", [3, {}, plans_table()])
def test_another_file_in_the_place_of_dataset_json_is_refused(read, content):
    with pytest.raises(UserError, match=r"dataset\.json is no dataset\.json"):
        read(dataset=content)


def test_missing_and_broken_files_are_named(tmp_path):
    plans = write(tmp_path / "plans.json", plans_table())
    with pytest.raises(UserError, match=r"none\.json does not exist"):
        read_nnunet_plans(plans, Path(tmp_path / "none.json"))
    (tmp_path / "broken.json").write_text('{"labels": ', encoding="utf-8")
    with pytest.raises(UserError, match=r"broken\.json is not valid JSON"):
        read_nnunet_plans(plans, tmp_path / "broken.json")


@pytest.mark.parametrize(
    ("configurations", "message"),
    [
        ({"3d_fullres": {}}, "no usable configuration '2d'.*3d_fullres"),
        ({}, "none"),
        ({"2d": {"inherits_from": "3d"}}, "'3d'"),
        ({"2d": {"inherits_from": "a"}, "a": {"inherits_from": "2d"}}, "'2d'"),
        ({"2d": {"inherits_from": ["2d"]}}, "2d"),
        ({"2d": {}}, "spacing"),
    ],
)
def test_plans_without_a_2d_configuration_are_refused(read, configurations, message):
    with pytest.raises(UserError, match=message):
        read(plans_table(configurations=configurations))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"spacing": [1.0, 1.0, 1.0]}, "'spacing'"),
        ({"spacing": [1.0, 0.0]}, "'spacing'"),
        ({"patch_size": [1, 512]}, "1 x 512"),
        ({"patch_size": "512"}, "'patch_size'"),
        ({"transpose_forward": [0, 1]}, "'transpose_forward'"),
        ({"dataset_name": ""}, "'dataset_name'"),
        ({"foreground_intensity_properties_per_channel": None}, "how intensities are normalised"),
        ({"foreground_intensity_properties_per_channel": {"0": {}}}, r"channel 0.*percentile_00_5"),
        ({"original_median_spacing_after_transp": [1, "a", 1]}, "original_median_spacing"),
    ],
)
def test_unusable_entries_of_plans_are_refused_by_name(read, changes, message):
    with pytest.raises(UserError, match=message) as caught:
        read(plans_table(**changes))
    assert "plans.json" in str(caught.value)
