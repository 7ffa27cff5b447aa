"""All that is wrong with a data set is told at once: one sentence for each fault, naming the file."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
from small_dataset import write_small_dataset

from DinoUNetCore.dataset.fingerprint import make_fingerprint
from DinoUNetCore.dataset.layout import check_case, read_dataset
from DinoUNetCore.dataset.problems import MOST_SHOWN, DatasetProblems, Problems
from DinoUNetCore.errors import UserError


def change(path, change_array=None, origin=None):
    image = sitk.ReadImage(str(path))
    changed = sitk.GetImageFromArray(change_array(sitk.GetArrayFromImage(image)) if change_array else image)
    changed.CopyInformation(image) if changed.GetSize() == image.GetSize() else changed.SetSpacing(image.GetSpacing())
    if origin:
        changed.SetOrigin(origin)
    sitk.WriteImage(changed, str(path))


def all_problems(folder) -> list[str]:
    problems = Problems()
    dataset = read_dataset(folder, problems=problems)
    with pytest.raises(DatasetProblems) as caught:
        make_fingerprint(dataset, problems=problems)
    return caught.value.sentences


def with_nan(array):
    array = array.astype(np.float32)
    array[0, 0, 0] = np.nan
    return array


def with_value_9(array):
    array[0, 0, 0] = 9
    return array


@pytest.fixture
def broken(tmp_path):
    """Eight cases, of which case_6 alone is sound."""
    folder = write_small_dataset(tmp_path / "broken", cases=8, size=(6, 20, 24))
    images, labels = folder / "imagesTr", folder / "labelsTr"
    (labels / "case_0.nii.gz").unlink()
    change(images / "case_1_0000.nii.gz", with_nan)
    change(labels / "case_2.nii.gz", lambda array: array[:-1])
    change(labels / "case_3.nii.gz", with_value_9)
    whole = (images / "case_4_0000.nii.gz").read_bytes()
    (images / "case_4_0000.nii.gz").write_bytes(whole[: len(whole) // 2])
    change(labels / "case_5.nii.gz", with_value_9, origin=(0.0, 0.0, 7.0))
    (images / "case_7_0000.nii.gz").rename(images / "case_7.nii.gz")
    return folder


def test_every_fault_of_every_case_is_told(broken):
    told = sorted(all_problems(broken))
    wanted = [
        (r"case_0_0000.nii.gz has no label map", "labelsTr"),
        (r"case_1_0000.nii.gz has NaN or infinite voxels", "imagesTr"),
        (r"case_2.nii.gz lies on another grid than case_2_0000.nii.gz (their sizes differ", "labelsTr"),
        (r"case_3.nii.gz holds label value(s) 9", "labelsTr"),
        (r"case_4_0000.nii.gz is damaged or incomplete", "imagesTr"),
        (r"case_5.nii.gz holds label value(s) 9", "labelsTr"),
        (r"case_5.nii.gz lies on another grid", "labelsTr"),
        (r"case_7.nii.gz has no channel number", "imagesTr"),
    ]
    for sentence, place in wanted:
        (fitting,) = [text for text in told if sentence in text]
        assert place in fitting
    assert len(told) == len(wanted)


def test_the_message_counts_and_lists_them(broken):
    with pytest.raises(UserError) as caught:
        problems = Problems()
        make_fingerprint(read_dataset(broken, problems=problems), problems=problems)
    lines = str(caught.value).splitlines()
    assert lines[0] == "the data set has 8 problems; mend these first:" and len(lines) == 9


def test_channels_that_are_missing_or_damaged_are_told_together(tmp_path):
    folder = write_small_dataset(tmp_path / "two", cases=3, size=(6, 20, 24))
    table = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    table["channel_names"] = {"0": "T1", "1": "T2"}
    (folder / "dataset.json").write_text(json.dumps(table), encoding="utf-8")
    for name in ("case_0_0001", "case_1_0001"):
        (folder / "imagesTr" / f"{name}.nii.gz").write_bytes(b"")
    (folder / "imagesTr" / "case_1_0000.nii.gz").write_bytes(b"")
    told = all_problems(folder)
    assert ["case_2_0001.nii.gz is missing" in text for text in told] == [True, False, False, False]
    assert [text.split(" is an empty file")[0][-18:-7] for text in told[1:]] == [
        "case_0_0001", "case_1_0000", "case_1_0001",
    ]  # fmt: skip


def test_the_entries_of_dataset_json_are_checked_together(tmp_path):
    folder = write_small_dataset(tmp_path / "set")
    table = {"channel_names": {"1": "MR"}, "labels": {"ball": 1}, "file_ending": "nii.gz"}
    (folder / "dataset.json").write_text(json.dumps(table), encoding="utf-8")
    with pytest.raises(DatasetProblems) as caught:
        read_dataset(folder)
    told = caught.value.sentences
    assert [key in text for key, text in zip(("number", "background", "dot"), told, strict=True)] == [True] * 3


def test_of_a_case_all_faults_are_told(broken):
    dataset = read_dataset(broken, problems=Problems())
    case = next(case for case in dataset.cases if case.name == "case_5")
    with pytest.raises(DatasetProblems, match=r"(?s)label value\(s\) 9.*another grid"):
        check_case(case, dataset)


def test_a_single_problem_is_one_sentence_and_many_are_cut():
    with pytest.raises(DatasetProblems, match=r"^a is broken\.$"):
        check(["a is broken."])
    with pytest.raises(DatasetProblems) as caught:
        check([f"{number} is broken." for number in range(MOST_SHOWN + 23)])
    assert str(caught.value).splitlines()[-1] == "... and 23 more."
    assert len(str(caught.value).splitlines()) == MOST_SHOWN + 2
    check([])


def check(sentences):
    problems = Problems()
    for sentence in sentences:
        with problems.collecting():
            raise UserError(sentence)
    problems.refuse()


def test_other_errors_are_not_collected():
    problems = Problems()
    with pytest.raises(ZeroDivisionError), problems.collecting():
        _ = 1 / 0
    assert problems.sentences == []


def test_the_fewer_of_pictures_and_volumes_are_wrong(tmp_path):
    folder = write_small_dataset(tmp_path / "mixed", cases=3, size=(6, 20, 24))
    for path in (folder / "imagesTr" / "case_0_0000.nii.gz", folder / "labelsTr" / "case_0.nii.gz"):
        sitk.WriteImage(sitk.ReadImage(str(path))[:, :, 3], str(path))
    (told,) = all_problems(folder)
    assert "case_0_0000.nii.gz is 2D but case_1_0000.nii.gz is 3D" in told
