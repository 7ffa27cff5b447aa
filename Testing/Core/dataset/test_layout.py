"""Reading nnU-Net raw folders, and one clear sentence for each way in which they can be wrong."""

import json

import numpy as np
import pytest
import SimpleITK as sitk

from DinoUNetCore.dataset.layout import check_case, count_labels, read_dataset
from DinoUNetCore.errors import UserError

LABELS = {"background": 0, "liver": 2, "spleen": 7}


def write_volume(path, array, spacing=(1.0, 1.0, 1.0), origin=(0.0, 0.0, 0.0)):
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing[: image.GetDimension()])
    image.SetOrigin(origin[: image.GetDimension()])
    sitk.WriteImage(image, str(path))


@pytest.fixture
def folder(tmp_path):
    """Two sound one-channel cases, a and b, of 4 x 5 x 6 voxels."""
    raw = tmp_path / "Dataset001_Test"
    (raw / "imagesTr").mkdir(parents=True)
    (raw / "labelsTr").mkdir()
    for number, case in enumerate(("b", "a")):
        image = np.arange(120, dtype=np.int16).reshape(6, 5, 4) + number
        label = np.zeros((6, 5, 4), np.uint8)
        label[1:3], label[3] = 2, 7
        write_volume(raw / "imagesTr" / f"{case}_0000.nii.gz", image)
        write_volume(raw / "labelsTr" / f"{case}.nii.gz", label)
    describe(raw)
    return raw


def describe(raw, **changes):
    table = {"channel_names": {"0": "CT"}, "labels": LABELS, "numTraining": 2, "file_ending": ".nii.gz", **changes}
    text = json.dumps({key: value for key, value in table.items() if value is not None})
    (raw / "dataset.json").write_text(text, encoding="utf-8")


def test_finds_cases_in_order_and_labels_by_value(folder):
    describe(folder, labels={"spleen": 7, "background": 0, "liver": 2})
    dataset = read_dataset(folder)
    assert [case.name for case in dataset.cases] == ["a", "b"]
    assert dataset.cases[0].images == (folder / "imagesTr" / "a_0000.nii.gz",)
    assert dataset.cases[0].label == folder / "labelsTr" / "a.nii.gz"
    assert list(dataset.labels.items()) == [("background", 0), ("liver", 2), ("spleen", 7)]
    assert (dataset.name, dataset.channel_names, dataset.file_ending) == ("Dataset001_Test", ["CT"], ".nii.gz")


def test_reads_a_case_on_one_grid(folder):
    dataset = read_dataset(folder)
    volume, label = check_case(dataset.cases[0], dataset)
    assert len(volume.channels) == 1 and volume.channels[0].shape == (6, 5, 4)
    assert count_labels(label) == {0: 60, 2: 40, 7: 20}


def test_files_of_other_kinds_and_hidden_files_are_no_cases(folder):
    (folder / "imagesTr" / "._a_0000.nii.gz").write_bytes(b"macOS")
    (folder / "imagesTr" / "notes.txt").write_text("mine", encoding="utf-8")
    assert len(read_dataset(folder).cases) == 2


def test_a_case_may_have_several_channels(folder):
    for case in "ab":
        write_volume(folder / "imagesTr" / f"{case}_0001.nii.gz", np.zeros((6, 5, 4), np.float32))
    describe(folder, channel_names={"1": "PET", "0": "CT"})
    dataset = read_dataset(folder)
    assert dataset.channel_names == ["CT", "PET"]
    volume, _ = check_case(dataset.cases[0], dataset)
    assert [channel.dtype for channel in volume.channels] == [np.int16, np.float32]


def test_one_rgb_picture_supplies_three_channels(tmp_path):
    (tmp_path / "imagesTr").mkdir()
    (tmp_path / "labelsTr").mkdir()
    colours = np.arange(8 * 9 * 3, dtype=np.uint8).reshape(8, 9, 3)
    sitk.WriteImage(sitk.GetImageFromArray(colours, isVector=True), str(tmp_path / "imagesTr" / "p_0000.png"))
    write_volume(tmp_path / "labelsTr" / "p.png", np.full((8, 9), 2, np.uint8))
    describe(tmp_path, channel_names={"0": "R", "1": "G", "2": "B"}, file_ending=".png", numTraining=1)
    dataset = read_dataset(tmp_path)
    volume, label = check_case(dataset.cases[0], dataset)
    for channel in range(3):
        np.testing.assert_array_equal(volume.channels[channel][0], colours[..., channel])
    assert count_labels(label) == {2: 72}


# groups -----------------------------------------------------------------------------------------------------------


def test_a_case_without_group_is_a_group_of_its_own(folder):
    describe(folder, groups={"a": "b"})  # a patient who is called like the other case
    groups = {case.name: case.group for case in read_dataset(folder).cases}
    assert groups["a"] == "b" and groups["b"] != "b"


@pytest.mark.parametrize("form", [{"groups": {"a": "p", "b": "p"}}, {"a": "p", "b": "p"}])
def test_a_groups_file_replaces_the_groups_of_dataset_json(folder, tmp_path, form):
    describe(folder, groups={"a": "one", "b": "two"})
    file = tmp_path / "groups.json"
    file.write_text(json.dumps(form), encoding="utf-8")
    assert [case.group for case in read_dataset(folder, file).cases] == ["p", "p"]


@pytest.mark.parametrize("groups", [{"c": "p"}, ["a", "b"], {"a": ["p"]}, {"a": None}])
def test_bad_groups_are_refused(folder, groups):
    describe(folder, groups=groups)
    with pytest.raises(UserError, match=r"the groups in .*dataset\.json"):
        read_dataset(folder)


def test_a_missing_groups_file_is_named(folder, tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.json"):
        read_dataset(folder, tmp_path / "nowhere.json")


# a table that is wrong ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"channel_names": None}, "no 'channel_names'"),
        ({"channel_names": None, "modality": {"0": "CT"}}, "old format"),
        ({"channel_names": {"1": "CT"}}, "must number the channels 0"),
        ({"channel_names": ["CT"]}, "'channel_names' in .* must be"),
        ({"channel_names": {"0": ""}}, "every name among 'channel_names'"),
        ({"labels": None}, "no 'labels'"),
        ({"labels": {"0": "background", "1": "liver"}}, "write name: value"),
        ({"labels": {"background": 0, "liver": -1}}, "whole numbers from 0 up"),
        ({"labels": {"background": 0, "liver": True}}, "whole numbers from 0 up"),
        ({"labels": {"liver": 1}}, "do not name the background"),
        ({"labels": {"background": 0}}, "nothing but the background"),
        ({"labels": {"background": 0, "liver": 1, "spleen": 1}}, "same value 1"),
        ({"file_ending": "nii.gz"}, "must begin with a dot"),
        ({"file_ending": ".nrrd"}, r"no file that ends in \.nrrd .*a_0000"),
        ({"numTraining": 3}, "says numTraining 3, but imagesTr holds 2"),
        ({"channel_names": {"0": "CT", "1": "PET"}}, r"a_0001\.nii\.gz is missing|b_0001\.nii\.gz is missing"),
    ],
)
def test_a_wrong_table_is_refused_with_a_reason(folder, changes, sentence):
    describe(folder, **changes)
    with pytest.raises(UserError, match=sentence):
        read_dataset(folder)


def test_the_number_of_cases_may_be_left_out(folder):
    describe(folder, numTraining=None)
    assert len(read_dataset(folder).cases) == 2


# files that are wrong -------------------------------------------------------------------------------------------------


def test_a_missing_folder_table_or_subfolder_is_named(folder, tmp_path):
    with pytest.raises(UserError, match=r"nowhere is not a folder"):
        read_dataset(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"dataset\.json is missing"):
        read_dataset(tmp_path)
    (folder / "imagesTr").rename(folder / "images")
    with pytest.raises(UserError, match="imagesTr is missing"):
        read_dataset(folder)


def test_no_case_at_all_is_refused(folder):
    for file in (folder / "imagesTr").iterdir():
        file.unlink()
    with pytest.raises(UserError, match=r"imagesTr holds no file .*it is empty"):
        read_dataset(folder)


def test_an_image_without_label_and_a_label_without_image_are_named(folder):
    label = folder / "labelsTr" / "a.nii.gz"
    label.rename(folder / "labelsTr" / "c.nii.gz")
    with pytest.raises(UserError, match=r"a_0000\.nii\.gz has no label map"):
        read_dataset(folder)
    (folder / "imagesTr" / "a_0000.nii.gz").unlink()
    with pytest.raises(UserError, match=r"c\.nii\.gz has no image"):
        read_dataset(folder)


def test_an_image_without_channel_number_and_a_channel_too_many_are_named(folder):
    extra = folder / "imagesTr" / "a_0001.nii.gz"
    write_volume(extra, np.zeros((6, 5, 4), np.uint8))
    with pytest.raises(UserError, match=r"a_0001\.nii\.gz is a channel that dataset.json does not name"):
        read_dataset(folder)
    extra.rename(folder / "imagesTr" / "c.nii.gz")
    with pytest.raises(UserError, match=r"c\.nii\.gz has no channel number; rename it to c_0000\.nii\.gz"):
        read_dataset(folder)


@pytest.mark.parametrize(
    ("shape", "origin", "sentence"),
    [((6, 5, 3), (0.0, 0.0, 0.0), "sizes differ"), ((6, 5, 4), (0.0, 0.0, 1.0), "origins differ")],
)
def test_a_label_map_on_another_grid_is_refused(folder, shape, origin, sentence):
    write_volume(folder / "labelsTr" / "a.nii.gz", np.ones(shape, np.uint8), origin=origin)
    dataset = read_dataset(folder)
    with pytest.raises(UserError, match=rf"a\.nii\.gz lies on another grid than a_0000\.nii\.gz.*{sentence}"):
        check_case(dataset.cases[0], dataset)


def write_pair(raw, ending, image_spacing, label_spacing, label_shape=(8, 9)):
    """One 2D case, whose image and label map store these spacings."""
    for folder in ("imagesTr", "labelsTr"):
        (raw / folder).mkdir(exist_ok=True)
    write_volume(raw / "imagesTr" / f"p_0000{ending}", np.zeros((8, 9), np.uint8), image_spacing)
    write_volume(raw / "labelsTr" / f"p{ending}", np.full(label_shape, 2, np.uint8), label_spacing)
    describe(raw, file_ending=ending, numTraining=1)
    return read_dataset(raw)


@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_a_picture_and_its_mask_may_store_different_resolutions(tmp_path, ending):
    dataset = write_pair(tmp_path, ending, (0.25, 0.25), (0.5, 0.5))
    assert dataset.unit == "pixel"
    volume, label = check_case(dataset.cases[0], dataset)
    assert volume.grid.spacing[:2] == pytest.approx((0.25, 0.25)) and count_labels(label) == {2: 72}
    with pytest.raises(UserError, match="spacings differ"):  # if a plan says so
        check_case(dataset.cases[0], dataset, unit="mm")
    dataset = write_pair(tmp_path, ending, (0.25, 0.25), (0.25, 0.25), (9, 8))
    with pytest.raises(UserError, match="sizes differ"):
        check_case(dataset.cases[0], dataset)


def test_2d_images_with_a_true_spacing_are_compared_by_it(tmp_path):
    dataset = write_pair(tmp_path, ".mha", (0.25, 0.25), (0.5, 0.5))
    assert dataset.unit == "mm"
    with pytest.raises(UserError, match="spacings differ"):
        check_case(dataset.cases[0], dataset)


def test_headers_that_differ_by_rounding_are_the_same_grid(folder):
    label = np.full((6, 5, 4), 2, np.uint8)
    write_volume(folder / "labelsTr" / "a.nii.gz", label, origin=(0.0, 0.0, 1e-5))
    dataset = read_dataset(folder)
    check_case(dataset.cases[0], dataset)


def test_label_values_that_dataset_json_does_not_name_are_refused(folder):
    label = np.zeros((6, 5, 4), np.uint8)
    label[0], label[5] = 1, 255
    write_volume(folder / "labelsTr" / "a.nii.gz", label)
    dataset = read_dataset(folder)
    with pytest.raises(UserError, match=r"a\.nii\.gz holds label value\(s\) 1, 255, which"):
        check_case(dataset.cases[0], dataset)


def test_a_grey_file_in_an_rgb_set_is_refused(folder):
    describe(folder, channel_names={"0": "R", "1": "G", "2": "B"})
    dataset = read_dataset(folder)
    with pytest.raises(UserError, match=r"hold 1 channel\(s\), but dataset.json names 3"):
        check_case(dataset.cases[0], dataset)


@pytest.mark.parametrize(
    ("name", "cases", "groups"),
    [
        ("Dataset004_Hippocampus", 199, 132),
        ("Dataset511_TotalSegCT", 1, 1),
        ("Dataset522_CHASEDB1", 14, 7),
        ("Dataset523_CXRLungs", 20, 18),
        ("Dataset524_DSB2018Nuclei", 92, 92),
    ],
)
def test_real_sets_are_found_whole(shared, name, cases, groups):
    dataset = read_dataset(shared / "data" / name)
    assert dataset.name == name
    assert len(dataset.cases) == cases
    assert len({case.group for case in dataset.cases}) == groups
