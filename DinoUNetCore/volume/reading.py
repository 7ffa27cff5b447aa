"""Images and label maps from files, each read faithfully or refused with one clear sentence.

Formats: what SimpleITK reads (NIfTI-1, NRRD, MHA/MHD, PNG, JPEG, TIFF, BMP, ...) and DICOM, as a folder of one series
or a single slice. Geometry is SimpleITK's; voxels keep their type. A TIFF of several pages is a volume.
"""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from DinoUNetCore.errors import UserError, is_out_of_memory
from DinoUNetCore.volume import dicom
from DinoUNetCore.volume.checks import check_image, check_kind
from DinoUNetCore.volume.endings import strip_ending
from DinoUNetCore.volume.geometry import grid_difference
from DinoUNetCore.volume.headers import check_file
from DinoUNetCore.volume.volume import Grid, Volume, channel_arrays

__all__ = ["check_image", "is_picture", "read_image", "read_label_map", "read_volume"]

_PICTURES = ("PNGImageIO", "TIFFImageIO", "BMPImageIO", "JPEGImageIO")
_PICTURE_ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
_NIFTI_RGBA = "2304"


def is_picture(path: str | os.PathLike) -> bool:
    """Whether the file's ending is a picture format's: the resolution in it is a printer's, not that of its content."""
    return os.fspath(path).lower().endswith(_PICTURE_ENDINGS)


def read_image(path: str | os.PathLike) -> sitk.Image:
    """Read a file, or the one DICOM series in a folder: 2D or 3D, one component or several (colours; alpha is dropped).

    Voxels keep the type that SimpleITK gives them; a DICOM picture stored inverted (MONOCHROME1) comes out bright where
    it is shown bright. Every image is checked as by `check_image`. Raises UserError naming the file.
    """
    path = Path(path)
    try:
        with _quiet():
            image = _read_folder(path) if path.is_dir() else _read_file(path)
    except OSError as error:
        raise UserError(
            f"cannot read {path}: {error.strerror or error}; check the file and its permissions."
        ) from error
    check_image(image, str(path))
    return image


def read_label_map(path: str | os.PathLike) -> sitk.Image:
    """Read a label map: whole numbers, cast to the smallest of uint8, uint16 and int32 that holds them.

    Float files are accepted if their values are whole; colour files if their three channels are equal (masks saved as
    RGB). Raises UserError naming the file.
    """
    path = Path(path)
    image = read_image(path)
    channels = channel_arrays(image)
    if len(channels) > 1:
        if len(channels) != 3 or any(not np.array_equal(channels[0], other) for other in channels[1:]):
            raise UserError(
                f"{path} is no label map: it has {len(channels)} components per voxel (a colour picture, perhaps); "
                "save label values as a single grey channel."
            )
        image = sitk.VectorIndexSelectionCast(image, 0)
        channels = channel_arrays(image)
    if channels[0].dtype.kind == "f" and any((plane != np.rint(plane)).any() for plane in channels[0]):
        raise UserError(f"{path} is no label map: it has values that are not whole numbers; give a label map.")
    low, high = int(channels[0].min()), int(channels[0].max())
    for pixel_id, dtype in ((sitk.sitkUInt8, np.uint8), (sitk.sitkUInt16, np.uint16), (sitk.sitkInt32, np.int32)):
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return image if image.GetPixelIDValue() == pixel_id else sitk.Cast(image, pixel_id)
    raise UserError(f"{path} is no label map: its values run from {low} to {high}; give a label map.")


def read_volume(paths: Sequence[str | os.PathLike], resample_channels: bool = False, unit: str = "mm") -> Volume:
    """Read one image per path as the channels of one volume (a colour file gives one channel per component).

    resample_channels: bring images on other grids onto the first one's grid, linearly in world space; without it they
    are refused. unit (of UNITS): in pixels, pictures of one size lie on the first one's grid, and others are refused.
    The volume's name is the first file's, without ending. Raises UserError naming the file.
    """
    images = [read_image(path) for path in paths]
    reference, resampled = Grid.of(images[0]), False
    for number, (path, image) in enumerate(zip(paths, images, strict=True)):
        difference = grid_difference(reference, Grid.of(image), unit)
        if difference and unit == "pixel" and reference.dimension == 2:
            raise UserError(f"{path} does not fit {paths[0]}: {difference}; give pictures of one size as channels.")
        if difference and not resample_channels:
            raise UserError(
                f"{path} lies on another grid than {paths[0]}: {difference}; "
                "use --resample-channels to bring all channels onto the first one's grid."
            )
        if difference:
            from DinoUNetCore.volume.resampling import resample_onto  # imports torch, which reading does not need

            images[number], resampled = resample_onto(image, images[0], str(path)), True
        elif unit == "pixel":
            image.CopyInformation(images[0])
    return Volume.from_images(images, strip_ending(Path(paths[0]).name), resampled)


def _read_folder(path: Path) -> sitk.Image:
    try:
        return dicom.read_folder(path)
    except RuntimeError as error:
        raise UserError(
            f"cannot read the DICOM series in {path}: {_reason(error)}; copy or export it again."
        ) from error


def _read_file(path: Path) -> sitk.Image:
    if not path.exists():
        raise UserError(f"{path} does not exist; check the name.")
    if path.stat().st_size == 0:
        raise UserError(f"{path} is an empty file; copy or export it again.")
    check_file(path)
    image_io = sitk.ImageFileReader.GetImageIOFromFileName(str(path))
    if not image_io:
        if dicom.is_dicom(path):
            raise UserError(
                f"{path} is a DICOM file without a readable picture, perhaps damaged; copy or export it again."
            )
        raise UserError(
            f"{path} is damaged or no image in a known format; "
            "give a NIfTI-1, NRRD, MHA, PNG, JPEG or TIFF file, or the folder of a DICOM series."
        )
    reader = sitk.ImageFileReader()
    reader.SetImageIO(image_io)
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        if image_io == dicom.IMAGE_IO:
            dicom.check_header(reader, path)
        size = reader.GetSize()
        while len(size) > 3 and size[-1] == 1:
            size = size[:-1]
        check_kind(size, reader.GetPixelIDValue(), str(path))
        image = reader.Execute()
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise UserError(
                f"cannot read {path}: this computer has too little free memory; close other programs."
            ) from error
        raise UserError(
            f"cannot read {path}, which may be damaged: {_reason(error)}; copy or export it again."
        ) from error
    while image.GetDimension() > 3:
        image = image[..., 0]
    return _without_alpha(image, reader, image_io)


def _without_alpha(image: sitk.Image, reader: sitk.ImageFileReader, image_io: str) -> sitk.Image:
    components = image.GetNumberOfComponentsPerPixel()
    declared = {key: reader.GetMetaData(key) for key in ("datatype", "NRRD_kinds[pixel]") if reader.HasMetaDataKey(key)}
    rgba = components == 4 and (
        image_io in _PICTURES
        or declared.get("datatype") == _NIFTI_RGBA
        or declared.get("NRRD_kinds[pixel]") == "RGBA-color"
    )
    if rgba:
        return sitk.Compose([sitk.VectorIndexSelectionCast(image, component) for component in range(3)])
    return image


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep ITK's warnings off the user's screen; what matters in them is checked and said in plain words."""
    before = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(before)


def _reason(error: RuntimeError) -> str:
    """The last line of a SimpleITK error, without the parts that only its authors understand."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    line = re.sub(r"\w+\(0x[0-9a-f]+\):", "", lines[-1]) if lines else "unknown reason"
    for prefix in ("sitk::ERROR:", "ITK ERROR:", "Reason:"):
        line = line.removeprefix(prefix).strip()
    return line.rstrip(".")
