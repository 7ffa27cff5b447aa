"""What SimpleITK does not tell about a file: sheared NIfTI transforms, NaN in NIfTI, and data that end too early.

ITK takes a NIfTI's qform where the sform is sheared, reads NaN and infinite NIfTI voxels as 0, and fills the missing
rest of a truncated NIfTI with zeros and that of a truncated JPEG with grey; all without an error. So the raw bytes are
looked at first.
"""

import gzip
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from DinoUNetCore.errors import UserError
from DinoUNetCore.volume.checks import are_orthogonal

_NIFTI1_SIZE, _NIFTI2_SIZE = 348, 540
_FLOATS = {16: "f4", 64: "f8"}  # NIfTI's numbers for the types of real numbers
_CHUNK = 1 << 20
_DAMAGE = (EOFError, zlib.error, gzip.BadGzipFile)


@dataclass(frozen=True)
class _Nifti:
    """What matters here of a NIfTI-1 header. order: "<" or ">"; bits: per voxel; offset: of the voxels, bytes."""

    order: str
    dim: tuple[int, ...]
    datatype: int
    bits: int
    offset: int
    sform_code: int
    sform: np.ndarray

    @classmethod
    def of(cls, header: bytes, order: str) -> "_Nifti":
        def numbers(kind: str, start: int) -> tuple:
            return struct.unpack_from(order + kind, header, start)

        (offset,) = numbers("f", 108)
        return cls(
            order,
            numbers("8h", 40),
            *numbers("2h", 70),
            int(offset) if math.isfinite(offset) else 0,
            *numbers("h", 254),
            np.array(numbers("12f", 280), dtype=np.float64).reshape(3, 4),
        )

    @property
    def voxels(self) -> int:
        return math.prod(max(count, 1) for count in self.dim[1 : 1 + min(max(self.dim[0], 0), 7)])


def check_file(path: Path) -> None:
    """Refuse, with a UserError, a file that SimpleITK would read wrongly without saying so. Other kinds pass."""
    name = path.name.lower()
    if name.endswith((".nii", ".nii.gz", ".hdr", ".img", ".img.gz", ".hdr.gz")):
        _check_nifti(path)
    elif name.endswith((".jpg", ".jpeg")):
        _check_jpeg(path)
    elif name.endswith(".bmp"):
        _check_bmp(path)
    elif name.endswith(".png"):
        _check_png(path)


def _check_jpeg(path: Path) -> None:
    data = path.read_bytes()
    # Neither marker can occur inside compressed data; an embedded thumbnail has its own pair before the last start.
    if data.startswith(b"\xff\xd8") and data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda"):
        raise _truncated(path)


def _check_bmp(path: Path) -> None:
    start = _start_of(path, 6)
    if start[:2] == b"BM" and len(start) == 6 and struct.unpack("<I", start[2:])[0] > path.stat().st_size:
        raise _truncated(path)


def _check_png(path: Path) -> None:
    start = _start_of(path, 26)
    if start.startswith(b"\x89PNG") and len(start) == 26 and start[25] == 4:
        raise UserError(
            f"{path} is a grey picture with transparency, which cannot be read; save it without transparency."
        )


def _check_nifti(path: Path) -> None:
    header_path, data_path = _nifti_files(path)
    header = _start_of(header_path, _NIFTI1_SIZE)
    if any(header[:4] == struct.pack(order + "i", _NIFTI2_SIZE) for order in "<>"):
        raise UserError(f"{path} is a NIfTI-2 file, which cannot be read; convert it to NIfTI-1, NRRD or MHA.")
    order = next((order for order in "<>" if header[:4] == struct.pack(order + "i", _NIFTI1_SIZE)), None)
    if order is None or len(header) < _NIFTI1_SIZE or header[344:347] not in (b"n+1", b"ni1"):
        return  # not NIfTI-1, or Analyze 7.5: SimpleITK says what it can do with it
    nifti = _Nifti.of(header, order)
    _check_sform(nifti, path)
    _check_data(nifti, data_path)


def _nifti_files(path: Path) -> tuple[Path, Path]:
    """The files that hold the header and the voxels: two for a .hdr/.img pair."""
    for header, data in ((".hdr", ".img"), (".hdr.gz", ".img.gz"), (".HDR", ".IMG")):
        for ending in (header, data):
            if path.name.endswith(ending):
                stem = path.name.removesuffix(ending)
                return _existing(path.with_name(stem + header), path), _existing(path.with_name(stem + data), path)
    return path, path


def _existing(path: Path, asked: Path) -> Path:
    for candidate in (path, path.with_name(path.name + ".gz")):
        if candidate.is_file():
            return candidate
    raise UserError(f"{asked} needs the file {path.name} beside it; copy both into one folder.")


def _check_sform(nifti: _Nifti, path: Path) -> None:
    if nifti.sform_code <= 0:
        return
    axes = nifti.sform[:, :3]
    lengths = np.linalg.norm(axes, axis=0)
    # An axis of one voxel may lack a direction (2D images); without a length there is nothing to be sheared.
    used = [axis for axis in range(3) if nifti.dim[axis + 1] > 1 or lengths[axis] > 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        columns = axes[:, used] / lengths[used]
    if used and not are_orthogonal(columns):
        raise UserError(
            f"{path} has sheared axes (its sform is not at right angles, as after a tilted CT gantry), which cannot be "
            "kept faithfully; resample it to an orthogonal grid first."
        )


def _check_data(nifti: _Nifti, path: Path) -> None:
    """All voxels must be there, a compressed file's checksum must fit, and real numbers must be numbers."""
    size = nifti.voxels * nifti.bits // 8
    floats = _FLOATS.get(nifti.datatype)
    if floats is None and not _is_gzip(path):
        if path.stat().st_size < nifti.offset + size:
            raise _truncated(path)
        return
    try:
        with _open(path) as file:
            if len(file.read(nifti.offset)) < nifti.offset:
                raise _truncated(path)
            while size > 0:
                chunk = file.read(min(_CHUNK, size))
                if not chunk or len(chunk) < min(_CHUNK, size):
                    raise _truncated(path)
                size -= len(chunk)
                if floats is not None and not np.isfinite(np.frombuffer(chunk, nifti.order + floats)).all():
                    raise UserError(f"{path} has NaN or infinite voxels; replace them by a sensible value first.")
            while file.read(_CHUNK):  # to the end of a .gz file, where its checksum is
                pass
    except _DAMAGE:
        raise _truncated(path) from None


def _start_of(path: Path, count: int) -> bytes:
    try:
        with _open(path) as file:
            return file.read(count)
    except _DAMAGE:
        raise _truncated(path) from None


def _open(path: Path):
    return gzip.open(path, "rb") if _is_gzip(path) else open(path, "rb")


def _is_gzip(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _truncated(path: Path) -> UserError:
    return UserError(f"{path} is damaged or incomplete; copy or export it again.")
