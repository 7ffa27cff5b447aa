"""DICOM: one series of parallel, evenly spaced slices in a folder, or a single slice.

SimpleITK stacks any slices that it is given and at most warns. Here every slice's position and orientation is compared
with the grid before and after reading; what does not fit is refused with the reason.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from DinoUNetCore.errors import UserError
from DinoUNetCore.volume.volume import Grid

IMAGE_IO = "GDCMImageIO"

# A slice may lie this part of a gap off the even grid, and may be tilted by this much (radians) against the stack.
_GAP_TOLERANCE = 0.05
_ANGLE_TOLERANCE = 1e-3

# DICOM files of a study that hold no picture: structure sets and plans, reports, presentations, raw data, ...
_STORAGE = "1.2.840.10008.5.1.4.1.1."
_WITHOUT_PICTURE = ("88", "11", "9", "104", "66", "67", "200", *(f"481.{number}" for number in range(3, 10)))
_SEGMENTATION, _DOSE = _STORAGE + "66.4", _STORAGE + "481.2"
_DIRECTORY = "1.2.840.10008.1.3.10"


@dataclass(frozen=True)
class _Slice:
    """What one file's header says. position and axes are None where it does not."""

    path: Path
    series: str
    description: str
    size: tuple[int, int]
    pixel_id: int
    components: int
    spacing: tuple[float, ...] | None
    position: np.ndarray | None
    axes: np.ndarray | None  # 2 x 3: the unit vectors along a row (I) and down a column (J), LPS


def read_folder(folder: Path) -> sitk.Image:
    """Read the one series in `folder` (subfolders are not searched) as a 3D image. Raises UserError."""
    slices = [found for path in sorted(folder.iterdir()) if (found := _inspect(path)) is not None]
    if not slices:
        raise UserError(f"{folder} holds no DICOM images (subfolders are not searched); give the folder of one series.")
    _check_one_series(slices, folder)
    if len(slices) == 1:
        return sitk.ReadImage(str(slices[0].path), imageIO=IMAGE_IO)
    ordered = _sorted_along_normal(slices, folder)
    reader = sitk.ImageSeriesReader()
    reader.SetImageIO(IMAGE_IO)
    reader.SetFileNames([str(item.path) for item in ordered])
    if len({item.pixel_id for item in ordered}) > 1:
        # ITK would cut every slice to the first one's type; rescaled PET slices differ in it.
        reader.SetOutputPixelType(sitk.sitkFloat32)
    image = reader.Execute()
    _check_positions(image, ordered, folder)
    return image


def check_header(reader: sitk.ImageFileReader, path: Path) -> None:
    """Refuse a DICOM file whose picture or place in space SimpleITK would get wrong. `reader` has read its header."""
    kind, modality = _tag(reader, "0008|0016"), _tag(reader, "0008|0060")
    if kind == _SEGMENTATION or modality == "SEG":
        raise UserError(f"{path} is a DICOM segmentation, not a scan; give the scan that it was made for.")
    if kind == _DOSE or modality == "RTDOSE":
        raise UserError(f"{path} is a radiotherapy dose grid, not a scan; give the scan that it belongs to.")
    frames = _numbers(reader, "0028|0008", 1)
    if frames and frames[0] > 1:
        raise UserError(
            f"{path} is a multi-frame DICOM file ({frames[0]:.0f} frames), whose frames' places in space "
            "cannot be verified; convert it to NIfTI or NRRD first, for example with dcm2niix or 3D Slicer."
        )
    if "MOSAIC" in _tag(reader, "0008|0008").upper().split("\\"):
        raise UserError(f"{path} is a mosaic of several slices in one picture; convert it with dcm2niix first.")
    # ITK turns MONOCHROME1 round to MONOCHROME2, which is right for pictures and would falsify calibrated numbers.
    if _tag(reader, "0028|0004") == "MONOCHROME1" and modality in ("CT", "MR", "PT", "NM"):
        raise UserError(f"{path} stores {modality} values inverted (MONOCHROME1); convert it to MONOCHROME2 first.")


def is_dicom(path: Path) -> bool:
    """Whether the file says that it is DICOM (even where it cannot be read)."""
    with open(path, "rb") as file:
        return file.read(132)[128:] == b"DICM"


def _inspect(path: Path) -> _Slice | None:
    """The header of a DICOM image; None for anything that is no DICOM image."""
    if path.name.startswith(".") or not path.is_file() or path.stat().st_size == 0:
        return None
    if sitk.ImageFileReader.GetImageIOFromFileName(str(path)) != IMAGE_IO:
        if is_dicom(path) and not _without_picture(path):
            raise UserError(f"{path} is a damaged or incomplete DICOM file; copy or export it again.")
        return None
    if is_dicom(path) and _without_picture(path):
        return None
    reader = sitk.ImageFileReader()
    reader.SetImageIO(IMAGE_IO)
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError:
        raise UserError(f"{path} is a damaged or incomplete DICOM file; copy or export it again.") from None
    check_header(reader, path)
    position, axes = _numbers(reader, "0020|0032", 3), _numbers(reader, "0020|0037", 6)
    return _Slice(
        path,
        _tag(reader, "0020|000e"),
        _tag(reader, "0008|103e"),
        reader.GetSize()[:2],
        reader.GetPixelIDValue(),
        reader.GetNumberOfComponents(),
        _numbers(reader, "0028|0030", 2),
        None if position is None else np.array(position),
        None if axes is None else np.array(axes).reshape(2, 3),
    )


def _check_one_series(slices: list[_Slice], folder: Path) -> None:
    series: dict[str, list[_Slice]] = {}
    for item in slices:
        series.setdefault(item.series, []).append(item)
    if len(series) == 1:
        return
    shown = [
        f"'{items[0].description or '?'}' ({items[0].path.name} and so on, {len(items)})" for items in series.values()
    ]
    more = f" and {len(shown) - 5} more" if len(shown) > 5 else ""
    raise UserError(
        f"{folder} holds {len(series)} DICOM series: {', '.join(shown[:5])}{more}; "
        "copy the files of the one that you want into a folder of their own."
    )


def _sorted_along_normal(slices: list[_Slice], folder: Path) -> list[_Slice]:
    """The slices in the order of their positions, after checking that they make up one even, upright stack."""
    first = slices[0]
    for item in slices:
        if item.position is None or item.axes is None:
            raise UserError(
                f"{folder} holds several pictures without a position in space ({item.path.name}); give one file."
            )
        if (item.size, item.components) != (first.size, first.components) or not _same(item.spacing, first.spacing):
            raise UserError(
                f"{folder}: {first.path.name} and {item.path.name} differ in size or pixel spacing; sort them out."
            )
        if np.abs(item.axes - first.axes).max() > _ANGLE_TOLERANCE:
            raise UserError(
                f"{folder}: {first.path.name} and {item.path.name} are not parallel (a scout, perhaps); sort them out."
            )
    normal = np.cross(*first.axes)
    ordered = sorted(slices, key=lambda item: float(item.position @ normal))
    positions = np.array([item.position for item in ordered])
    heights = (positions - positions[0]) @ normal
    gaps = np.diff(heights)
    if gaps.min() <= 0.01 * gaps.max() or gaps.max() <= 0:
        number = int(gaps.argmin())
        raise UserError(
            f"{folder}: slices {ordered[number].path.name} and {ordered[number + 1].path.name} lie at the same place "
            "(a time series, echoes or phases, perhaps); copy those of one volume into a folder of their own."
        )
    sideways = np.linalg.norm(positions - positions[0] - np.outer(heights, normal), axis=1)
    if (sideways > _ANGLE_TOLERANCE * heights + _GAP_TOLERANCE * gaps.mean()).any():
        tilt = np.degrees(np.arctan2(sideways[-1], heights[-1]))
        raise UserError(
            f"{folder} was taken with a tilted gantry: its slices are shifted against each other ({tilt:.1f} degrees), "
            "so that its axes are sheared; resample it to an orthogonal grid first, for example with 3D Slicer."
        )
    even = np.linspace(0, heights[-1], len(heights))
    if np.abs(heights - even).max() > _GAP_TOLERANCE * gaps.mean():
        raise UserError(
            f"{folder} has uneven slice gaps ({gaps.min():.4g} to {gaps.max():.4g} mm): slices are missing or "
            "do not belong together; complete the series or resample it to even spacing first."
        )
    return ordered


def _check_positions(image: sitk.Image, slices: list[_Slice], folder: Path) -> None:
    """The last word: every slice of the finished image must lie where its own header says."""
    grid = Grid.of(image)
    tolerance = 2 * _GAP_TOLERANCE * min(grid.spacing) + 2 * _ANGLE_TOLERANCE * grid.spacing[2] * grid.size[2]
    wrong = [
        item.path.name
        for k, item in enumerate(slices)
        if np.linalg.norm(grid.position((0, 0, k)) - item.position) > tolerance
        or np.abs(grid.matrix[:, :2].T - item.axes).max() > 2 * _ANGLE_TOLERANCE
    ]
    if wrong or grid.size[2] != len(slices):
        raise UserError(
            f"{folder}: its slices do not fit on one grid (slice {(wrong or ['?'])[0]} would lie elsewhere); "
            "convert the series to NIfTI or NRRD first, for example with dcm2niix or 3D Slicer."
        )


def _without_picture(path: Path) -> bool:
    """Whether a DICOM file's storage class holds no picture, told from its file meta information (little endian)."""
    with open(path, "rb") as file:
        head = file.read(4096)
    start = head.find(b"\x02\x00\x02\x00UI", 132)
    if start < 0:
        return False
    length = int.from_bytes(head[start + 6 : start + 8], "little")
    kind = head[start + 8 : start + 8 + length].rstrip(b"\0 ").decode("ascii", "replace")
    rest = kind.removeprefix(_STORAGE)
    if kind == _SEGMENTATION:
        return False
    return kind == _DIRECTORY or (
        rest != kind and any(rest == part or rest.startswith(part + ".") for part in _WITHOUT_PICTURE)
    )


def _tag(reader: sitk.ImageFileReader, key: str) -> str:
    return reader.GetMetaData(key).strip(" \0") if reader.HasMetaDataKey(key) else ""


def _numbers(reader: sitk.ImageFileReader, key: str, count: int) -> tuple[float, ...] | None:
    try:
        values = tuple(float(part) for part in _tag(reader, key).split("\\"))
    except ValueError:
        return None
    return values if len(values) == count and np.isfinite(values).all() else None


def _same(one: tuple[float, ...] | None, other: tuple[float, ...] | None) -> bool:
    return one == other or (one is not None and other is not None and bool(np.allclose(one, other, rtol=1e-4)))
