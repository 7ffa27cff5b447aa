"""A zip that is made while it is sent: nothing is packed beforehand, and its size is known from the start.

Its files are stored uncompressed. All sizes stand in the fields of zip64, whatever they are, so that the length of
everything but the files follows from their names. Layout: PKWARE's APPNOTE, sections 4.3 to 4.5.
"""

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from DinoUNetCore.engine.protocol import MAX_DATA

_VERSION = 45  # of zip64
_FLAGS = 0x0808  # sizes and CRC follow the data; names are UTF-8
_DATE = 0x0021  # 1 January 1980, the beginning of a zip's time
_ELSEWHERE = 0xFFFFFFFF  # "see the field of zip64"

_LOCAL = struct.Struct("<4s5H3L2H")
_LOCAL_SIZES = struct.Struct("<2H2Q")
_DESCRIPTOR = struct.Struct("<4sL2Q")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_CENTRAL_SIZES = struct.Struct("<2H3Q")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR = struct.Struct("<4sLQL")
_END = struct.Struct("<4s4H2LH")

_PER_FILE = _LOCAL.size + _LOCAL_SIZES.size + _DESCRIPTOR.size + _CENTRAL.size + _CENTRAL_SIZES.size


@dataclass(frozen=True)
class StoredFile:
    """One file of the zip. size: in bytes; `open` must give exactly as many."""

    name: str
    size: int
    open: Callable[[], BinaryIO]


def zip_size(files: list[StoredFile]) -> int:
    """Bytes of the whole zip."""
    parts = sum(_PER_FILE + 2 * len(file.name.encode()) + file.size for file in files)
    return parts + _END64.size + _LOCATOR.size + _END.size


def zip_pieces(files: list[StoredFile]) -> Iterator[bytes]:
    """The zip in pieces of at most MAX_DATA bytes; each file is opened when its turn comes.

    OSError if one has another size by then.
    """
    at, directory = 0, b""
    for file in files:
        start = _local_header(file)
        yield start
        crc, rest = 0, file.size
        with file.open() as opened:
            while piece := opened.read(MAX_DATA):
                crc, rest = zlib.crc32(piece, crc), rest - len(piece)
                yield piece
        if rest:
            raise OSError(f"{file.name} was changed meanwhile")
        yield _DESCRIPTOR.pack(b"PK\7\10", crc, file.size, file.size)
        directory += _directory_entry(file, crc, at)
        at += len(start) + file.size + _DESCRIPTOR.size
    yield directory
    yield _end(len(files), at, len(directory))


def _local_header(file: StoredFile) -> bytes:
    name = file.name.encode()
    lengths = len(name), _LOCAL_SIZES.size
    header = _LOCAL.pack(b"PK\3\4", _VERSION, _FLAGS, 0, 0, _DATE, 0, _ELSEWHERE, _ELSEWHERE, *lengths)
    return header + name + _LOCAL_SIZES.pack(1, 16, 0, 0)


def _directory_entry(file: StoredFile, crc: int, at: int) -> bytes:
    """at: where in the zip its local header begins."""
    name = file.name.encode()
    lengths = len(name), _CENTRAL_SIZES.size, 0
    facts = _VERSION, _VERSION, _FLAGS, 0, 0, _DATE, crc, _ELSEWHERE, _ELSEWHERE
    header = _CENTRAL.pack(b"PK\1\2", *facts, *lengths, 0, 0, 0, _ELSEWHERE)
    return header + name + _CENTRAL_SIZES.pack(1, 24, file.size, file.size, at)


def _end(count: int, at: int, length: int) -> bytes:
    """What follows the directory of so many files, which begins at `at` and has so many bytes."""
    end = _END64.pack(b"PK\6\6", _END64.size - 12, _VERSION, _VERSION, 0, 0, count, count, length, at)
    locator = _LOCATOR.pack(b"PK\6\7", 0, at + length, 1)
    return end + locator + _END.pack(b"PK\5\6", 0, 0, count, count, _ELSEWHERE, _ELSEWHERE, 0)
