"""The SHA-256 of the tensors in safetensors files, with nothing but the standard library.

It is the one of `tensors.tensors_sha256`: over names, shapes and float32 values in the order of the names.
"""

import hashlib
import struct
from collections.abc import Callable, Iterable
from pathlib import Path

from DinoUNetCore.weights.safetensors_header import LENGTH_BYTES, TensorPlace, header_length, parse_header

PERIODS = "rope_embed.periods"
"""The name of RoPE periods beside weights. They are not among them: every bundle has its own."""

_BLOCK = 1 << 20  # bytes, a multiple of every value's size


def tensors_digest(paths: Iterable[Path]) -> str:
    """Hexadecimal SHA-256 of all tensors of these files. ValueError if one is damaged; OSError if it cannot be read."""
    stored: dict[str, tuple[Path, int, TensorPlace]] = {}
    for path in paths:
        data, places = _read_header(path)
        for name, place in places.items():
            if name in stored:
                raise ValueError(f"{name} is in two files")
            stored[name] = (path, data + place.start, place)
    total = hashlib.sha256()
    for name in sorted(stored.keys() - {PERIODS}):
        path, start, place = stored[name]
        total.update(f"{name}{place.shape}".encode())
        with path.open("rb") as file:
            file.seek(start)
            for left in range(place.size, 0, -_BLOCK):
                total.update(_TO_FLOAT32[place.dtype](file.read(min(left, _BLOCK))))
    return total.hexdigest()


def _read_header(path: Path) -> tuple[int, dict[str, TensorPlace]]:
    """Where the values begin, in bytes, and the tensors."""
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            length = header_length(file.read(LENGTH_BYTES), size)
            header = file.read(length)
        data = LENGTH_BYTES + length
        places = parse_header(header, size - data)
        if odd := {place.dtype for place in places.values()} - _TO_FLOAT32.keys():
            raise ValueError(f"values of the kind {min(odd)}")
    except ValueError as error:
        raise ValueError(f"{path.name} is no file of tensors: {error}") from error
    return data, places


def _widen_bfloat16(values: bytes) -> bytes:
    """A bfloat16 is the upper half of a float32."""
    wide = bytearray(2 * len(values))
    wide[2::4], wide[3::4] = values[0::2], values[1::2]
    return bytes(wide)


def _widen_float16(values: bytes) -> bytes:
    count = len(values) // 2
    return struct.pack(f"<{count}f", *struct.unpack(f"<{count}e", values))


_TO_FLOAT32: dict[str, Callable[[bytes], bytes]] = {"F32": bytes, "BF16": _widen_bfloat16, "F16": _widen_float16}
