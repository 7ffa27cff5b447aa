"""Many images with one call: good ones are segmented, bad ones are named with their reason, nothing is done twice."""

import numpy as np
import pytest
import SimpleITK as sitk

from DinoUNetCore import Segmenter, load_bundle
from DinoUNetCore.dataset.phantom import make_phantom
from DinoUNetSlicerLib.errors import UserError


@pytest.fixture
def logic(engine):
    import DinoUNetSlicer

    return DinoUNetSlicer.DinoUNetSlicerLogic()


@pytest.fixture
def folder(tmp_path):
    """Six good images and four bad ones, in a folder whose name is not plain."""
    folder = tmp_path / "Köpfe und 頭"
    folder.mkdir()
    image, _ = make_phantom(3, size=(48, 48, 6))
    for number, ending in enumerate((".nii.gz", ".nrrd", ".mha", ".nii", ".nii.gz", ".nrrd")):
        sitk.WriteImage(image, str(folder / f"Fall {number} ä{ending}"))
    (folder / "corrupt.nii.gz").write_bytes((folder / "Fall 0 ä.nii.gz").read_bytes()[:2000])
    (folder / "empty.nrrd").write_bytes(b"")
    sitk.WriteImage(sitk.Image([8, 8, 4, 3], sitk.sitkInt16), str(folder / "4d.nii.gz"))
    (folder / "letter.txt").write_text("not an image", encoding="utf-8")
    return folder


def test_good_ones_are_done_bad_ones_named_and_nothing_twice(logic, folder, tmp_path):
    results = tmp_path / "Ergebnisse 結果"
    report = logic.segmentBatch(folder, results)
    assert len(report.done) == 6
    assert sorted(item.name.split(".")[0] for item in report.failed) == ["4d", "corrupt", "empty", "letter"]
    assert all(item.reason for item in report.failed)
    assert report.exitCode == 1
    assert sorted(path.name for path in results.iterdir()) == [f"Fall {number} ä.seg.nrrd" for number in range(6)]

    times = {path: path.stat().st_mtime_ns for path in results.iterdir()}
    again = logic.segmentBatch(str(folder), str(results))
    assert (len(again.done), len(again.kept), len(again.failed)) == (0, 6, 4)
    assert times == {path: path.stat().st_mtime_ns for path in results.iterdir()}
    assert "corrupt" in str(again)


def test_files_and_nodes_give_the_cores_result(logic, make_volume, tmp_path):
    image, _ = make_phantom(4, size=(48, 48, 6))
    sitk.WriteImage(image, str(tmp_path / "file.nii.gz"))
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    matrix[:3, 3] = image.GetOrigin()
    node = make_volume(sitk.GetArrayFromImage(image), np.diag([-1, -1, 1, 1]) @ matrix, "5: CT/Thorax")
    report = logic.segmentBatch([tmp_path / "file.nii.gz", node], tmp_path / "out", ending=".nii.gz")
    assert [item.name for item in report.done] == ["file", "5_ CT_Thorax"]
    expected = sitk.GetArrayFromImage(Segmenter(load_bundle("phantom-tiny"), "cpu").segment(image))
    for item in report.done:
        written = sitk.ReadImage(str(item.output))
        assert written.GetMetaData("ITK_FileNotes").startswith("phantom-tiny ")
        np.testing.assert_array_equal(sitk.GetArrayFromImage(written), expected)
        np.testing.assert_allclose(written.GetOrigin(), image.GetOrigin(), atol=1e-4)


def test_what_concerns_all_is_said_before_any_work(logic, tmp_path):
    with pytest.raises(UserError, match=r"\.stl cannot be written"):
        logic.segmentBatch(tmp_path, tmp_path / "out", ending=".stl")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match="is a file"):
        logic.segmentBatch(tmp_path, tmp_path / "file")
    with pytest.raises(UserError, match="nothing to segment"):
        logic.segmentBatch([], tmp_path / "out")
    with pytest.raises(UserError, match="no model"):
        logic.segmentBatch(tmp_path, tmp_path / "out", model="none")
    with pytest.raises(UserError, match="None is no volume node, file or folder"):
        logic.segmentBatch([None], tmp_path / "out")
    assert not (tmp_path / "out").exists()
