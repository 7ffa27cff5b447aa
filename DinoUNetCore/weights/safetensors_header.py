"""The header of a safetensors file, with nothing but the standard library: which tensors lie where."""

import json
import math
from dataclasses import dataclass

LARGEST_HEADER = 100_000_000  # bytes, of safetensors' own reader
LENGTH_BYTES = 8  # before the header, and they say how long it is

BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
"""Of a value, by the names of the dtypes."""


@dataclass(frozen=True)
class TensorPlace:
    """A tensor in a file: its values begin `start` bytes after the header and are `size` bytes long."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    size: int


def header_length(first_bytes: bytes, file_size: int) -> int:
    """Bytes of the header, by the LENGTH_BYTES before it. ValueError if a file of this size cannot have it."""
    length = int.from_bytes(first_bytes, "little")
    if len(first_bytes) < LENGTH_BYTES or length > min(LARGEST_HEADER, file_size - LENGTH_BYTES):
        raise ValueError("it has no header of tensors")
    return length


def parse_header(header: bytes, data_size: int) -> dict[str, TensorPlace]:
    """The tensors by name. data_size: bytes after the header. ValueError if the header is damaged."""
    try:
        entries = json.loads(header.decode("utf-8"))
        entries.pop("__metadata__", None)
        return {name: _place(entry, data_size) for name, entry in entries.items()}
    except (RecursionError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"its header cannot be read: {error}") from error


def _place(entry: dict, data_size: int) -> TensorPlace:
    dtype, shape, (start, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
    if dtype not in BYTES:
        raise ValueError(f"values of the kind {dtype}")
    if any(type(number) is not int or number < 0 for number in (*shape, start, end)):
        raise ValueError("its sizes are no counts")
    if not start <= end <= data_size or math.prod(shape) * BYTES[dtype] != end - start:
        raise ValueError("its sizes contradict each other")
    return TensorPlace(dtype, shape, start, end - start)
