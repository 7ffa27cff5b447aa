"""What SimpleITK does not tell about a file: sheared NIfTI transforms, and data that end too early.

ITK takes a NIfTI's qform where the sform is sheared, fills the missing rest of a truncated NIfTI with zeros and that of
a truncated JPEG with grey, all without an error. So the raw bytes are looked at first.
"""

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np

from DinoUNetCore.errors import UserError
from DinoUNetCore.volume.checks import are_orthogonal

_NIFTI1_SIZE, _NIFTI2_SIZE = 348, 540
_CHUNK = 1 << 20


def check_file(path: Path) -> None:
    """Refuse, with a UserError, a file that SimpleITK would read wrongly without saying so. Other kinds pass."""
    name = path.name.lower()
    if name.endswith((".nii", ".nii.gz", ".hdr", ".img", ".img.gz", ".hdr.gz")):
        _check_nifti(path)
    elif name.endswith((".jpg", ".jpeg")):
        data = path.read_bytes()
        # Neither marker can occur inside compressed data; an embedded thumbnail has its own pair before the last start.
        if data.startswith(b"\xff\xd8") and data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda"):
            raise _truncated(path)
    elif name.endswith(".bmp"):
        with open(path, "rb") as file:
            start = file.read(6)
        if start[:2] == b"BM" and len(start) == 6 and struct.unpack("<I", start[2:])[0] > path.stat().st_size:
            raise _truncated(path)


def _check_nifti(path: Path) -> None:
    header_path, data_path = _nifti_files(path)
    header = _start_of(header_path, _NIFTI1_SIZE)
    order = next((order for order in "<>" if header[:4] == struct.pack(order + "i", _NIFTI1_SIZE)), None)
    if any(header[:4] == struct.pack(order + "i", _NIFTI2_SIZE) for order in "<>"):
        raise UserError(f"{path} is a NIfTI-2 file, which cannot be read; convert it to NIfTI-1, NRRD or MHA.")
    if order is None or len(header) < _NIFTI1_SIZE or header[344:347] not in (b"n+1", b"ni1"):
        return  # not NIfTI-1, or Analyze 7.5: SimpleITK says what it can do with it
    _check_sform(header, order, path)
    if data_path != header_path or header[344:347] == b"n+1":
        dim = struct.unpack(order + "8h", header[40:56])
        bits = struct.unpack(order + "h", header[72:74])[0]
        offset = struct.unpack(order + "f", header[108:112])[0]
        voxels = int(np.prod([max(count, 1) for count in dim[1 : 1 + min(max(dim[0], 0), 7)]], dtype=np.int64))
        if _size_of(data_path) < int(offset) + voxels * bits // 8:
            raise _truncated(data_path)


def _nifti_files(path: Path) -> tuple[Path, Path]:
    """The files that hold the header and the voxels: two for a .hdr/.img pair."""
    for header, data in ((".hdr", ".img"), (".hdr.gz", ".img.gz"), (".HDR", ".IMG")):
        for ending in (header, data):
            if path.name.endswith(ending):
                stem = path.name.removesuffix(ending)
                return _existing(path.with_name(stem + header), path), _existing(path.with_name(stem + data), path)
    return path, path


def _existing(path: Path, asked: Path) -> Path:
    compressed = path.with_name(path.name + ".gz")
    if path.is_file() or not compressed.is_file():
        if not path.is_file():
            raise UserError(f"{asked} needs the file {path.name} beside it; copy both into one folder.")
        return path
    return compressed


def _check_sform(header: bytes, order: str, path: Path) -> None:
    if struct.unpack(order + "h", header[254:256])[0] <= 0:
        return
    counts = struct.unpack(order + "3h", header[42:48])
    axes = np.array(struct.unpack(order + "12f", header[280:328]), dtype=np.float64).reshape(3, 4)[:, :3]
    lengths = np.linalg.norm(axes, axis=0)
    # An axis of one voxel may lack a direction (2D images); without a length there is nothing to be sheared.
    used = [axis for axis in range(3) if counts[axis] > 1 or lengths[axis] > 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        columns = axes[:, used] / lengths[used]
    if used and not are_orthogonal(columns):
        raise UserError(
            f"{path} has sheared axes (its sform is not at right angles, as after a tilted CT gantry), which cannot be "
            "kept faithfully; resample it to an orthogonal grid first."
        )


def _start_of(path: Path, count: int) -> bytes:
    try:
        with _open(path) as file:
            return file.read(count)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise _truncated(path) from None


def _size_of(path: Path) -> int:
    """Bytes in a file, or in what a .gz file holds once its checksum has been verified."""
    if not _is_gzip(path):
        return path.stat().st_size
    size = 0
    try:
        with _open(path) as file:
            while chunk := file.read(_CHUNK):
                size += len(chunk)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise _truncated(path) from None
    return size


def _open(path: Path):
    return gzip.open(path, "rb") if _is_gzip(path) else open(path, "rb")


def _is_gzip(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _truncated(path: Path) -> UserError:
    return UserError(f"{path} is damaged or incomplete; copy or export it again.")
