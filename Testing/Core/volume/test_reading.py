"""Files are read faithfully or refused with one sentence that names them."""

import gzip
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from DinoUNetCore.errors import UserError
from DinoUNetCore.volume.reading import check_image, is_picture, read_image, read_label_map, read_volume
from DinoUNetCore.volume.volume import Grid

VOLUME_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd", ".hdr", ".nhdr")


def noise(shape=(6, 7, 8), dtype=np.int16) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 200, shape).astype(dtype)


def write(path: Path, array=None, spacing=(0.7, 0.8, 2.5), compress=False, **options) -> Path:
    image = sitk.GetImageFromArray(noise() if array is None else array, **options)
    image.SetSpacing(spacing[: image.GetDimension()])
    sitk.WriteImage(image, str(path), useCompression=compress)
    return path


def refusal(path: Path, read=read_image) -> str:
    """The sentence with which `path` is refused, checked for its form."""
    with pytest.raises(UserError) as caught:
        read(path)
    sentence = str(caught.value)
    assert str(path) in sentence
    assert sentence.endswith(".") and "\n" not in sentence and "; " in sentence  # what is wrong; what to do
    return sentence


@pytest.mark.parametrize("ending", VOLUME_ENDINGS)
def test_volumes_are_read_with_their_type_and_geometry(tmp_path, ending):
    image = read_image(write(tmp_path / f"x{ending}"))
    assert image.GetPixelID() == sitk.sitkInt16
    assert np.array_equal(sitk.GetArrayFromImage(image), noise())
    assert image.GetSpacing() == pytest.approx((0.7, 0.8, 2.5))


def test_paths_may_have_spaces_and_letters_of_any_language(tmp_path):
    folder = tmp_path / "Größe 脾臓"
    folder.mkdir()
    for ending in (".nii.gz", ".nrrd", ".mha", ".nii", ".hdr"):
        assert read_image(write(folder / f"é ü{ending}")).GetSize() == (8, 7, 6)
    assert read_image(str(write(folder / "Bild ö.png", noise((5, 6), np.uint8)))).GetSize() == (6, 5)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_pictures_are_2d_and_keep_their_depth(tmp_path, ending, dtype):
    array = noise((5, 6), dtype) * np.array(1 if dtype is np.uint8 else 300, dtype)
    image = read_image(write(tmp_path / f"x{ending}", array, (1, 1)))
    assert image.GetDimension() == 2
    assert image.GetSpacing() == pytest.approx((1, 1))
    assert np.array_equal(sitk.GetArrayFromImage(image), array)


def test_a_tiff_of_several_pages_is_a_volume(tmp_path):
    assert read_image(write(tmp_path / "x.tif", noise((4, 5, 6), np.uint8), (1, 1, 1))).GetSize() == (6, 5, 4)


@pytest.mark.parametrize(("components", "left"), [(3, 3), (4, 3)])
def test_alpha_is_dropped(tmp_path, components, left):
    array = noise((5, 6, components), np.uint8)
    image = read_image(write(tmp_path / "x.png", array, (1, 1), isVector=True))
    assert image.GetNumberOfComponentsPerPixel() == left
    assert np.array_equal(sitk.GetArrayFromImage(image).reshape(5, 6, left), array[..., :left])


def test_a_grey_picture_with_alpha_is_refused(tmp_path):
    write(tmp_path / "x.png", noise((5, 6, 2), np.uint8), (1, 1), isVector=True)
    assert "transparency" in refusal(tmp_path / "x.png")


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd"])
def test_alpha_is_dropped_from_colour_volumes(tmp_path, ending):
    array = noise((4, 5, 6, 4), np.uint8)
    path = write(tmp_path / f"x{ending}", array, isVector=True)
    if ending == ".nrrd":
        path.write_bytes(path.read_bytes().replace(b"kinds: vector", b"kinds: RGBA-color"))
    else:
        write_rgba_nifti(path, array)
    assert np.array_equal(sitk.GetArrayFromImage(read_image(path)), array[..., :3])


def write_rgba_nifti(path: Path, array: np.ndarray) -> None:
    data = bytearray(gzip.decompress(write(path.with_name("plain.nii.gz"), array[..., 0].copy()).read_bytes())[:352])
    struct.pack_into("<2h", data, 70, 2304, 32)
    path.write_bytes(gzip.compress(bytes(data) + array.tobytes()))


def test_channels_of_a_volume_are_not_taken_for_alpha(tmp_path):
    array = noise((4, 5, 6, 4), np.int16)
    image = read_image(write(tmp_path / "x.mha", array, isVector=True))
    assert np.array_equal(sitk.GetArrayFromImage(image), array)


def test_missing_empty_and_foreign_files_are_refused(tmp_path):
    assert "does not exist" in refusal(tmp_path / "missing.nii.gz")
    for name in ("empty.nii.gz", "empty.png", "empty.dcm", "empty"):
        (tmp_path / name).write_bytes(b"")
        assert "empty" in refusal(tmp_path / name)
    for name in ("text.txt", "text.nii", "text.nii.gz", "text.nrrd", "text.mha", "text.png", "text.dcm", "text.jpg"):
        (tmp_path / name).write_bytes(b"this is no image\n" * 50)
        refusal(tmp_path / name)


def test_a_folder_without_dicom_is_refused(tmp_path):
    write(tmp_path / "x.nii.gz")
    assert "no DICOM images" in refusal(tmp_path)


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.98])
@pytest.mark.parametrize(
    "name", ["x.nii", "x.nii.gz", "x.nrrd", "x.mha", "x.img", "x.raw", "x.png", "x.jpg", "x.bmp", "x.tif"]
)
def test_truncated_files_are_refused(tmp_path, name, keep):
    asked = tmp_path / {"x.raw": "x.mhd"}.get(name, name)
    picture = asked.suffix in (".png", ".jpg", ".bmp", ".tif")
    written = asked.with_suffix(".hdr") if asked.suffix == ".img" else asked
    write(written, noise((90, 80), np.uint8) if picture else noise((20, 30, 40)))
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: int(keep * len(data))])
    refusal(asked)


@pytest.mark.parametrize("position", [0.3, 0.7, 0.99])
def test_a_flipped_byte_in_a_compressed_volume_is_noticed(tmp_path, position):
    path = write(tmp_path / "x.nii.gz", noise((20, 60, 70)))
    data = bytearray(path.read_bytes())
    data[int(position * len(data))] ^= 0xFF
    path.write_bytes(data)
    refusal(path)


def test_a_wrong_checksum_is_noticed(tmp_path):
    voxels = write(tmp_path / "x.nii", noise((40, 60, 70))).read_bytes()
    data = bytearray(gzip.compress(voxels, compresslevel=0))
    data[-40] ^= 1  # a voxel, stored as it is: only the checksum tells
    (tmp_path / "x.nii.gz").write_bytes(data)
    refusal(tmp_path / "x.nii.gz")


def test_half_a_header_image_pair_is_refused(tmp_path):
    write(tmp_path / "x.hdr")
    (tmp_path / "x.img").unlink()
    assert "x.img" in refusal(tmp_path / "x.hdr")


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".hdr", ".nrrd", ".mha"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_no_numbers_are_refused(tmp_path, ending, dtype, value):
    array = noise(dtype=dtype)
    array[3, 2, 1] = value
    path = write(tmp_path / f"x{ending}", array)
    with pytest.raises(UserError, match=r"x\.(hdr|img|nii|nii\.gz|nrrd|mha) has (NaN|infinite) .*voxels; replace"):
        read_image(path)


def test_4d_and_complex_images_are_refused(tmp_path):
    image = sitk.JoinSeries([sitk.GetImageFromArray(noise())] * 2)
    sitk.WriteImage(image, str(tmp_path / "x.nii.gz"))
    assert "4 dimensions" in refusal(tmp_path / "x.nii.gz")
    array = noise().astype(np.complex64)
    assert "complex" in refusal(write(tmp_path / "y.nrrd", array))


def test_a_fourth_dimension_of_one_is_no_obstacle(tmp_path):
    image = sitk.GetImageFromArray(noise())
    image.SetDirection((0, 1, 0, 1, 0, 0, 0, 0, -1))
    image.SetOrigin((1, 2, 3))
    sitk.WriteImage(sitk.JoinSeries([image]), str(tmp_path / "x.nrrd"))
    result = read_image(tmp_path / "x.nrrd")
    assert np.array_equal(sitk.GetArrayFromImage(result), noise())
    assert (result.GetDirection(), result.GetOrigin()) == (image.GetDirection(), image.GetOrigin())


def replace(path: Path, old: bytes, new: bytes) -> Path:
    data = path.read_bytes()
    start = data.index(old)
    path.write_bytes(data[:start] + new + data[data.index(b"\n", start) :])
    return path


def test_sheared_axes_are_refused_in_mha_and_nrrd(tmp_path):
    mha = replace(write(tmp_path / "x.mha"), b"TransformMatrix", b"TransformMatrix = 1 0 0 0.3 1 0 0 0 1")
    assert "sheared" in refusal(mha)
    nrrd = replace(
        write(tmp_path / "x.nrrd"), b"space directions", b"space directions: (0.7,0,0) (0.3,0.8,0) (0,0,2.5)"
    )
    assert "sheared" in refusal(nrrd)


def nifti_with(path: Path, order: str, qform_code: int, sform_code: int, sform: np.ndarray) -> Path:
    """Set a file's transforms, in little or big endian byte order (header fields and int16 voxels swapped)."""
    data = bytearray(write(path.with_name("plain.nii")).read_bytes())
    struct.pack_into("<2h", data, 252, qform_code, sform_code)
    struct.pack_into("<12f", data, 280, *sform[:3].ravel())
    if order == ">":
        for start, count, width in ((0, 1, 4), (40, 8, 2), (68, 4, 2), (76, 12, 4), (252, 2, 2), (256, 18, 4)):
            for item in range(start, start + count * width, width):
                data[item : item + width] = data[item : item + width][::-1]
        data[352:] = np.frombuffer(bytes(data[352:]), "<i2").astype(">i2").tobytes()
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(bytes(data)))
    elif path.suffix == ".hdr":
        data[344:348] = b"ni1\0"
        struct.pack_into(order + "f", data, 108, 0.0)
        path.write_bytes(data[:348])
        path.with_suffix(".img").write_bytes(data[352:])
    else:
        path.write_bytes(data)
    return path


UPRIGHT = np.array([[-0.7, 0, 0, 1], [0, -0.8, 0, 2], [0, 0, 2.5, 3]])
SHEARED = np.array([[-0.7, 0, 0, 1], [0, -0.8, 0.8, 2], [0, 0, 2.5, 3]])


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("name", ["x.nii", "x.nii.gz", "x.hdr"])
def test_a_sheared_sform_is_refused_even_where_the_qform_is_upright(tmp_path, name, order):
    assert "sheared" in refusal(nifti_with(tmp_path / name, order, 1, 1, SHEARED))
    upright = read_image(nifti_with(tmp_path / name, order, 1, 1, UPRIGHT))
    assert np.array_equal(sitk.GetArrayFromImage(upright), noise())


def test_a_sheared_sform_that_is_not_in_force_does_not_matter(tmp_path):
    assert read_image(nifti_with(tmp_path / "x.nii", "<", 1, 0, SHEARED)).GetSize() == (8, 7, 6)


def test_rounding_in_an_sform_is_no_shear(tmp_path):
    assert read_image(nifti_with(tmp_path / "x.nii", "<", 1, 1, UPRIGHT + 1e-5)).GetSize() == (8, 7, 6)


def test_a_broken_sform_is_refused(tmp_path):
    broken = UPRIGHT.copy()
    broken[:, 0] = np.nan
    refusal(nifti_with(tmp_path / "x.nii", "<", 0, 1, broken))


def test_images_in_memory_are_checked_too():
    image = sitk.GetImageFromArray(noise())
    check_image(image)
    image.SetDirection((1, 0.3, 0, 0, 1, 0, 0, 0, 1))
    with pytest.raises(UserError, match="CT 3 has sheared axes"):
        check_image(image, "CT 3")
    with pytest.raises(UserError, match="the image has 4 dimensions"):
        check_image(sitk.Image((3, 3, 3, 3), sitk.sitkUInt8))
    with pytest.raises(UserError, match="is empty"):
        check_image(sitk.Image())


def test_a_mirrored_image_is_no_sheared_one():
    image = sitk.GetImageFromArray(noise())
    image.SetDirection((1, 0, 0, 0, 1, 0, 0, 0, -1))
    check_image(image)


@pytest.mark.parametrize(
    ("array", "pixel_id"),
    [
        (noise(dtype=np.float64), sitk.sitkUInt8),
        (noise(dtype=np.int16), sitk.sitkUInt8),
        (noise(dtype=np.int32) * 300, sitk.sitkUInt16),
        (noise(dtype=np.int32) * 3000, sitk.sitkInt32),
        (noise(dtype=np.int16) - 100, sitk.sitkInt32),
    ],
)
def test_label_maps_become_the_smallest_whole_type(tmp_path, array, pixel_id):
    labels = read_label_map(write(tmp_path / "x.nrrd", array))
    assert labels.GetPixelID() == pixel_id
    assert np.array_equal(sitk.GetArrayFromImage(labels), array)


def test_a_grey_mask_saved_in_colour_is_a_label_map(tmp_path):
    mask = noise((5, 6), np.uint8)
    labels = read_label_map(write(tmp_path / "x.png", np.stack([mask] * 3, axis=-1), (1, 1), isVector=True))
    assert np.array_equal(sitk.GetArrayFromImage(labels), mask)


def test_what_is_no_label_map_is_refused(tmp_path):
    assert "whole numbers" in refusal(write(tmp_path / "x.nrrd", noise(dtype=np.float32) + 0.5), read_label_map)
    colour = write(tmp_path / "x.png", noise((5, 6, 3), np.uint8), (1, 1), isVector=True)
    assert "3 components" in refusal(colour, read_label_map)
    assert "values run" in refusal(write(tmp_path / "y.nrrd", noise(dtype=np.float32) * 1e8), read_label_map)


def test_a_volume_is_named_after_its_first_file(tmp_path):
    volume = read_volume([write(tmp_path / "case.1_0000.nii.gz"), write(tmp_path / "case.1_0001.nii.gz", noise() + 1)])
    assert volume.name == "case.1_0000"
    assert np.array_equal(volume.channels[1], volume.channels[0] + 1)


def test_channels_on_another_grid_are_resampled_only_on_demand(tmp_path):
    paths = [write(tmp_path / "x_0000.nrrd"), write(tmp_path / "x_0001.nrrd", noise((12, 7, 8)), (0.7, 0.8, 1.25))]
    with pytest.raises(
        UserError, match=r"x_0001\.nrrd lies on another grid than .*x_0000\.nrrd: .*--resample-channels"
    ):
        read_volume(paths)
    volume = read_volume(paths, resample_channels=True)
    assert volume.channels[1].shape == (6, 7, 8)
    assert np.allclose(volume.channels[1], noise((12, 7, 8))[::2], atol=1e-3)


def test_nothing_is_printed_for_a_readable_file(tmp_path, capfd):
    read_image(write(tmp_path / "x.nii.gz"))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("ending", [".png", ".tif", ".jpg"])
def test_in_pixels_pictures_are_channels_of_one_volume_whatever_resolution_they_store(tmp_path, ending):
    paths = [
        write(tmp_path / f"{number}{ending}", noise((20, 30), np.uint8), (spacing, spacing))
        for number, spacing in enumerate((0.25, 0.5))
    ]
    volume = read_volume(paths, unit="pixel")
    assert len(volume.channels) == 2
    assert volume.grid == Grid.of(read_image(paths[0]))  # the label map will lie on it
    if Grid.of(read_image(paths[1])) != volume.grid:  # not every format stores a resolution
        with pytest.raises(UserError, match="another grid"):
            read_volume(paths)
    write(paths[1], noise((20, 31), np.uint8), (0.25, 0.25))
    with pytest.raises(UserError, match=f"1{ending} does not fit .*sizes differ.*; give pictures of one size"):
        read_volume(paths, resample_channels=True, unit="pixel")


def test_pictures_are_told_by_their_ending():
    assert all(map(is_picture, ("a.png", "B.TIF", Path("x") / "c.ome.tiff", "d.jpeg", ".bmp")))
    assert not any(map(is_picture, ("a.nii.gz", "b.nrrd", "c.mha", "d.dcm", "png", Path("folder"))))


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="needs a limit on memory, and what is taken of it")
@pytest.mark.parametrize("ending", [".nii.gz", ".mha"])
def test_too_little_memory_is_not_taken_for_a_damaged_file(tmp_path, ending):
    path = write(tmp_path / f"large{ending}", np.zeros((64, 512, 512), np.int16), compress=True)
    small = write(tmp_path / f"small{ending}", compress=True)
    program = f"""
import re, resource
from pathlib import Path
from DinoUNetCore.errors import UserError
from DinoUNetCore.volume.reading import read_image
read_image({str(small)!r})  # loads what it needs
taken = int(re.search(r"VmSize:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) << 10
resource.setrlimit(resource.RLIMIT_AS, (taken + (16 << 20),) * 2)
try:
    read_image({str(path)!r})
except UserError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).resolve().parents[3],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    sentence = f"cannot read {path}: this computer has too little free memory; close other programs.\n"
    assert done.stdout == sentence
