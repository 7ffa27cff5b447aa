"""Which files make a case, and where its result goes."""

import pytest

from DinoUNetCore.errors import UserError
from DinoUNetCore.inference.cases import InputCase, choose_outputs, find_cases


def make(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"\0" * 128 + b"DICM" if name.endswith(".dcm") else b"x")
    return folder


def found(folder, channels=1):
    return {case.name: [path.name for path in case.files] for case in find_cases([folder], channels)}


def test_every_file_is_a_case_of_a_model_with_one_channel(tmp_path):
    make(tmp_path, "b.nii.gz", "a.b.nrrd", "c.PNG", "notes.txt", "c.ctbl", ".hidden.nii", "d.hdr", "d.img")
    assert found(tmp_path) == {"a.b": ["a.b.nrrd"], "b": ["b.nii.gz"], "c": ["c.PNG"], "d": ["d.hdr"]}


def test_names_in_nnunet_s_form_are_grouped_into_channels(tmp_path):
    make(tmp_path, "p1_0000.nii.gz", "p1_0001.nii.gz", "p2_0000.nii.gz", "p2_0001.nii.gz")
    assert found(tmp_path, 2) == {
        "p1": ["p1_0000.nii.gz", "p1_0001.nii.gz"],
        "p2": ["p2_0000.nii.gz", "p2_0001.nii.gz"],
    }
    assert list(found(tmp_path, 1)) == ["p1_0000", "p1_0001", "p2_0000", "p2_0001"]  # four pictures of a camera


def test_channel_0_of_a_model_with_one_channel_is_no_part_of_the_name(tmp_path):
    make(tmp_path, "p1_0000.nii.gz", "p2_0000.nii.gz")
    assert list(found(tmp_path)) == ["p1", "p2"]
    assert find_cases([tmp_path / "p1_0000.nii.gz"], 1) == [InputCase("p1", (tmp_path / "p1_0000.nii.gz",))]


def test_several_files_are_the_channels_of_one_case(tmp_path):
    make(tmp_path, "t1.nii", "t2.nii")
    files = (tmp_path / "t1.nii", tmp_path / "t2.nii")
    assert find_cases(files, 2) == [InputCase("t1", files)]


def test_a_folder_of_dicom_slices_is_one_case_and_a_folder_of_such_folders_several(tmp_path):
    make(tmp_path / "p1", "1.dcm", "2.dcm")
    make(tmp_path / "p2", "1.dcm")
    assert found(tmp_path / "p1") == {"p1": ["p1"]}
    assert found(tmp_path) == {"p1": ["p1"], "p2": ["p2"]}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a.nii.gz", "1.dcm"], "DICOM slices .1.dcm. and other images"),
        (["a.nii.gz", "a.nrrd"], "would both be written as a"),
    ],
)
def test_ambiguous_folders_are_refused(tmp_path, names, message):
    with pytest.raises(UserError, match=message):
        find_cases([make(tmp_path, *names)], 1)


def test_missing_inputs_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"nothing\.nii does not exist"):
        find_cases([tmp_path / "nothing.nii"], 1)


def outputs(inputs, output, ending=None, channels=1):
    return [path.name for path in choose_outputs(find_cases(inputs, channels), inputs, output, ending)]


def test_an_output_with_an_ending_is_a_file_and_one_without_a_folder(tmp_path):
    source = make(tmp_path / "in", "a.nii.gz", "b.png")
    assert outputs([source / "a.nii.gz"], tmp_path / "x.seg.nrrd") == ["x.seg.nrrd"]
    assert outputs([source / "a.nii.gz"], tmp_path / "out") == ["a.nii.gz"]
    assert outputs([source], tmp_path / "out") == ["a.nii.gz", "b.png"]
    assert outputs([source], tmp_path / "out", ".seg.nrrd") == ["a.seg.nrrd", "b.seg.nrrd"]
    assert outputs([source], tmp_path / "out.v2") == ["a.nii.gz", "b.png"]
    existing = make(tmp_path / "dotted.nii.gz")
    assert outputs([source / "a.nii.gz"], existing) == ["a.nii.gz"]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("inputs_", "output", "ending", "message"),
    [
        (["in"], "x.nii.gz", None, "names one file; name a folder"),
        (["in/a.nii.gz"], "x.jpg", None, r"ends in \.jpg, which cannot be written; choose one of"),
        (["in/a.nii.gz"], "x.xyz", None, "cannot be written"),
        (["in"], "out", ".jpg", r"ending in \.jpg cannot be written"),
        (["in"], "file", None, "is a file; name a folder"),
        (["in"], "in", None, "is an input and would be overwritten"),
        (["in/a.nii.gz"], "in/a.nii.gz", None, "is an input and would be overwritten"),
        (["in/a.nii.gz"], "file/x.nii.gz", None, "cannot write to"),
    ],
)
def test_outputs_that_cannot_be_are_refused_before_the_run(tmp_path, inputs_, output, ending, message):
    make(tmp_path / "in", "a.nii.gz", "b.png")
    make(tmp_path, "file")
    with pytest.raises(UserError, match=message):
        outputs([tmp_path / name for name in inputs_], tmp_path / output, ending)
