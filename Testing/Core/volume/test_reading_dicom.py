"""A DICOM folder is read as the one even stack that it holds, or refused with the reason."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from DinoUNetCore.errors import UserError
from DinoUNetCore.volume import dicom
from DinoUNetCore.volume.reading import read_image

ROW, COLUMN = (0.8, 0.6, 0.0), (-0.6, 0.8, 0.0)
GAP = 2.5
ORIGIN = np.array([-100.0, 20.0, 30.0])


def at(height: float) -> np.ndarray:
    """Position of the slice at this height, mm."""
    return ORIGIN + np.array([0, 0, height])


def slices(count: int = 5) -> np.ndarray:
    return np.random.default_rng(0).integers(-1000, 1000, (count, 6, 8)).astype(np.int16)


def write_slice(path: Path, pixels: np.ndarray, position, series="1.2.3.4", row=ROW, column=COLUMN, **tags) -> None:
    image = sitk.GetImageFromArray(pixels[np.newaxis])
    image.SetSpacing((0.7, 0.8, GAP))
    texts = {
        "0008|0060": "CT",
        "0008|103e": "Thorax",
        "0008|0008": "ORIGINAL\\PRIMARY\\AXIAL",
        "0020|000d": "1.2.3",
        "0020|000e": series,
        "0020|0032": "\\".join(f"{value:.6f}" for value in position),
        "0020|0037": "\\".join(f"{value:.6f}" for value in (*row, *column)),
        "0028|1052": "0",
        "0028|1053": "1",
    }
    for key, text in (texts | {key.replace("_", "|"): text for key, text in tags.items()}).items():
        image.SetMetaData(key, text)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    writer.SetFileName(str(path))
    writer.Execute(image)


def write_series(folder: Path, heights, shift=0.0, order=None, prefix="", **options) -> np.ndarray:
    """Slices at these heights along the normal; `shift` mm sideways per mm of height. Returns the pixels by height."""
    folder.mkdir(exist_ok=True)
    pixels = slices(len(heights))
    for number in order or range(len(heights)):
        position = at(heights[number]) + shift * heights[number] * np.array(COLUMN)
        write_slice(folder / f"{prefix}{(number * 7) % 11:02d}.dcm", pixels[number], position, **options)
    return pixels


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_image(path)
    assert str(path) in str(caught.value)
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)
    return str(caught.value)


def test_slices_are_stacked_by_position_whatever_their_names(tmp_path):
    pixels = write_series(tmp_path / "Sérîes 1", GAP * np.arange(5))
    image = read_image(tmp_path / "Sérîes 1")
    assert np.array_equal(sitk.GetArrayFromImage(image), pixels)
    assert image.GetSpacing() == pytest.approx((0.7, 0.8, GAP))
    for k in range(5):
        assert image.TransformIndexToPhysicalPoint((0, 0, k)) == pytest.approx(tuple(at(GAP * k)))
    step = np.subtract(image.TransformIndexToPhysicalPoint((1, 0, 0)), image.GetOrigin())
    assert step == pytest.approx(0.7 * np.array(ROW), abs=1e-6)


def test_a_single_file_is_read_as_one_slice(tmp_path):
    pixels = write_series(tmp_path, GAP * np.arange(3))
    image = read_image(tmp_path / "07.dcm")
    assert np.array_equal(sitk.GetArrayFromImage(image), pixels[1:2])
    assert image.GetOrigin() == pytest.approx(tuple(at(GAP)))


def test_a_folder_of_one_slice_is_read(tmp_path):
    pixels = write_series(tmp_path, [0.0])
    assert np.array_equal(sitk.GetArrayFromImage(read_image(tmp_path)), pixels)


def test_other_files_beside_the_slices_do_not_matter(tmp_path):
    pixels = write_series(tmp_path, GAP * np.arange(4))
    (tmp_path / "notes.txt").write_text("read me", encoding="utf-8")
    (tmp_path / "._00.dcm").write_bytes(b"\0" * 200)
    (tmp_path / "empty.dcm").write_bytes(b"")
    (tmp_path / "sub").mkdir()
    kind = b"1.2.840.10008.5.1.4.1.1.481.3\0"  # an RT structure set: DICOM without a picture
    meta = b"\x02\x00\x02\x00UI" + len(kind).to_bytes(2, "little") + kind
    (tmp_path / "structures.dcm").write_bytes(b"\0" * 128 + b"DICM" + meta)
    assert np.array_equal(sitk.GetArrayFromImage(read_image(tmp_path)), pixels)


def test_a_damaged_slice_is_not_left_out_silently(tmp_path):
    write_series(tmp_path, GAP * np.arange(5))
    damaged = tmp_path / "06.dcm"
    damaged.write_bytes((tmp_path / "00.dcm").read_bytes()[:300])
    assert "06.dcm" in refusal(tmp_path)


def test_several_series_are_named(tmp_path):
    write_series(tmp_path, GAP * np.arange(4), prefix="a")
    write_series(tmp_path, GAP * np.arange(3), prefix="b", series="1.2.3.5", **{"0008_103e": "Abdomen"})
    sentence = refusal(tmp_path)
    assert "2 DICOM series" in sentence
    assert "'Thorax' (a00.dcm and so on, 4)" in sentence
    assert "'Abdomen' (b00.dcm and so on, 3)" in sentence


def test_an_empty_series_number_is_one_series(tmp_path):
    pixels = write_series(tmp_path, GAP * np.arange(4), series="")
    assert np.array_equal(sitk.GetArrayFromImage(read_image(tmp_path)), pixels)


def test_a_tilted_gantry_is_refused(tmp_path):
    write_series(tmp_path, GAP * np.arange(5), shift=np.tan(np.radians(12)))
    assert "tilted gantry" in refusal(tmp_path)
    assert "12.0 degrees" in refusal(tmp_path)


@pytest.mark.parametrize("heights", [(0, 2.5, 5, 10, 12.5), (0, 2.5, 5, 7.5, 11), (0, 1, 2, 4, 8)])
def test_uneven_gaps_are_refused(tmp_path, heights):
    write_series(tmp_path, heights)
    assert "uneven slice gaps" in refusal(tmp_path)


def test_rounded_positions_are_even_enough(tmp_path):
    pixels = write_series(tmp_path, np.round(2.5 * np.arange(5) + [0, 0.02, -0.02, 0.01, 0], 3))
    assert np.array_equal(sitk.GetArrayFromImage(read_image(tmp_path)), pixels)


def test_two_slices_at_one_place_are_refused(tmp_path):
    write_series(tmp_path, (0, 2.5, 2.5, 5))
    assert "same place" in refusal(tmp_path)


def test_slices_that_are_not_parallel_are_refused(tmp_path):
    write_series(tmp_path, GAP * np.arange(4), prefix="a")
    write_slice(tmp_path / "scout.dcm", slices(1)[0], (0, 0, 50), row=(0, 1, 0), column=(0, 0, -1))
    assert "not parallel" in refusal(tmp_path)


def test_slices_of_different_sizes_are_refused(tmp_path):
    write_series(tmp_path, GAP * np.arange(4), prefix="a")
    write_slice(tmp_path / "b.dcm", slices(1)[0][:5], at(10))
    assert "differ in size" in refusal(tmp_path)


def test_slices_with_different_rescaling_keep_their_values(tmp_path):
    write_series(tmp_path, GAP * np.arange(3), **{"0028_1053": "2"})
    names = ("00.dcm", "07.dcm", "03.dcm")
    for name, slope in zip(names[1:], (b".5", b"4 "), strict=True):  # put in by hand: ITK writes whole slopes only
        data = (tmp_path / name).read_bytes()
        assert data.count(b"\x28\x00\x53\x10\x02\x00\x00\x002 ") == 1
        (tmp_path / name).write_bytes(data.replace(b"\x53\x10\x02\x00\x00\x002 ", b"\x53\x10\x02\x00\x00\x00" + slope))
    single = [sitk.GetArrayFromImage(read_image(tmp_path / name))[0] for name in names]
    assert len({pixels.dtype for pixels in single}) > 1
    assert np.array_equal(
        sitk.GetArrayFromImage(read_image(tmp_path)), np.stack([pixels.astype(float) for pixels in single])
    )


def test_a_mosaic_is_refused(tmp_path):
    write_slice(tmp_path / "x.dcm", slices(1)[0], ORIGIN, **{"0008_0008": "ORIGINAL\\PRIMARY\\M\\ND\\MOSAIC"})
    assert "mosaic" in refusal(tmp_path / "x.dcm")


def test_inverted_ct_values_are_refused_and_inverted_x_rays_turned_round(tmp_path):
    def invert(path: Path) -> None:
        path.write_bytes(path.read_bytes().replace(b"MONOCHROME2 ", b"MONOCHROME1 "))

    write_slice(tmp_path / "ct.dcm", slices(1)[0], ORIGIN)
    invert(tmp_path / "ct.dcm")
    assert "MONOCHROME1" in refusal(tmp_path / "ct.dcm")
    write_slice(tmp_path / "cr.dcm", slices(1)[0], ORIGIN, **{"0008_0060": "CR"})
    plain = sitk.GetArrayFromImage(read_image(tmp_path / "cr.dcm"))
    invert(tmp_path / "cr.dcm")
    turned = sitk.GetArrayFromImage(read_image(tmp_path / "cr.dcm"))
    assert np.array_equal(np.argsort(turned.ravel(), kind="stable"), np.argsort(-plain.ravel(), kind="stable"))


def test_an_image_that_contradicts_its_slices_is_refused(tmp_path):
    # The last check, for stacks that pass all others and that ITK puts elsewhere all the same; no file is known to.
    write_series(tmp_path, GAP * np.arange(5))
    image = read_image(tmp_path)
    slices_of = sorted((dicom._inspect(path) for path in tmp_path.iterdir()), key=lambda item: item.position[2])
    dicom._check_positions(image, slices_of, tmp_path)
    image.SetSpacing((0.7, 0.8, 1.1 * GAP))
    with pytest.raises(UserError, match="do not fit on one grid"):
        dicom._check_positions(image, slices_of, tmp_path)
