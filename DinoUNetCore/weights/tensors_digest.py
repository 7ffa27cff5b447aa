"""The SHA-256 of the tensors in safetensors files, with nothing but the standard library.

It is the one of `tensors.tensors_sha256`: over names, shapes and float32 values in the order of the names.
"""

import hashlib
import json
import math
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

_PERIODS = "rope_embed.periods"  # not among the weights: every bundle has its own
_BLOCK = 1 << 20  # bytes, a multiple of every value's size
_LARGEST_HEADER = 100_000_000  # bytes, of safetensors' own reader


@dataclass(frozen=True)
class _Stored:
    """A tensor in a file: where its values begin, and of how many bytes they are."""

    path: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    size: int


def tensors_digest(paths: Iterable[Path]) -> str:
    """Hexadecimal SHA-256 of all tensors of these files. ValueError if one is damaged; OSError if it cannot be read."""
    stored: dict[str, _Stored] = {}
    for path in paths:
        for name, tensor in _read_header(path).items():
            if name in stored:
                raise ValueError(f"{name} is in two files")
            stored[name] = tensor
    total = hashlib.sha256()
    for name in sorted(stored.keys() - {_PERIODS}):
        tensor = stored[name]
        total.update(f"{name}{tensor.shape}".encode())
        widen = _TO_FLOAT32[tensor.dtype]
        with tensor.path.open("rb") as file:
            file.seek(tensor.start)
            for left in range(tensor.size, 0, -_BLOCK):
                total.update(widen(file.read(min(left, _BLOCK))))
    return total.hexdigest()


def _read_header(path: Path) -> dict[str, _Stored]:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = file.read(length) if length <= _LARGEST_HEADER else b""
        size = file.seek(0, 2)
    try:
        entries = json.loads(header.decode("utf-8"))
        entries.pop("__metadata__", None)
        return {name: _stored(path, entry, 8 + length, size) for name, entry in entries.items()}
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path.name} is no file of tensors: {error}") from error


def _stored(path: Path, entry: dict, data: int, size: int) -> _Stored:
    dtype, shape, (start, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
    if dtype not in _TO_FLOAT32:
        raise ValueError(f"values of the kind {dtype}")
    if not 0 <= start <= end <= size - data or math.prod(shape) * _BYTES[dtype] != end - start:
        raise ValueError("its sizes contradict each other")
    return _Stored(path, dtype, shape, data + start, end - start)


def _widen_bfloat16(values: bytes) -> bytes:
    """A bfloat16 is the upper half of a float32."""
    wide = bytearray(2 * len(values))
    wide[2::4], wide[3::4] = values[0::2], values[1::2]
    return bytes(wide)


def _widen_float16(values: bytes) -> bytes:
    count = len(values) // 2
    return struct.pack(f"<{count}f", *struct.unpack(f"<{count}e", values))


_TO_FLOAT32: dict[str, Callable[[bytes], bytes]] = {"F32": bytes, "BF16": _widen_bfloat16, "F16": _widen_float16}
_BYTES = {"F32": 4, "BF16": 2, "F16": 2}
