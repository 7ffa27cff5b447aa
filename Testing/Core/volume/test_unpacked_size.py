"""The size of images in memory, from their headers."""

import os

import numpy as np
import pytest
import SimpleITK as sitk

from DinoUNetCore.volume.unpacked_size import unpacked_bytes


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float64])
def test_it_is_what_the_voxels_take_whatever_the_file_s_size(tmp_path, ending, dtype):
    array = np.zeros((5, 40, 30), dtype)
    path = tmp_path / f"scan{ending}"
    sitk.WriteImage(sitk.GetImageFromArray(array), str(path), useCompression=True)
    assert path.stat().st_size < array.nbytes
    assert unpacked_bytes([path]) == array.nbytes
    assert unpacked_bytes([path, path]) == 2 * array.nbytes


def test_colours_count_each(tmp_path):
    array = np.zeros((40, 30, 3), np.uint8)
    sitk.WriteImage(sitk.GetImageFromArray(array, isVector=True), str(tmp_path / "picture.png"))
    assert unpacked_bytes([tmp_path / "picture.png"]) == array.nbytes


def test_a_folder_is_as_large_as_its_files_unpacked(tmp_path):
    (tmp_path / "1.dcm").write_bytes(bytes(1000))
    (tmp_path / "2.dcm").write_bytes(bytes(500))
    assert unpacked_bytes([tmp_path]) == 3 * 1500


def test_what_is_no_image_has_no_size(tmp_path):
    (tmp_path / "scan.nii.gz").write_bytes(b"this is no image")
    assert unpacked_bytes([tmp_path / "scan.nii.gz", tmp_path / "missing.nrrd"]) == 0


def test_what_cannot_be_asked_has_no_size(tmp_path):
    assert unpacked_bytes([tmp_path / ("n" * 300)]) == 0  # no name may be so long: every question about it fails


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="permissions are a POSIX matter here")
def test_a_folder_that_may_not_be_read_has_no_size(tmp_path):
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o000)
    user = os.geteuid()
    os.seteuid(user or 65534)  # root may read everything
    try:
        assert unpacked_bytes([folder]) == 0
    finally:
        os.seteuid(user)
