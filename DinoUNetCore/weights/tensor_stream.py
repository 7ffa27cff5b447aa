"""Tensors out of a safetensors file that can be read in one pass only, as out of a zip: each is in memory once."""

import hashlib
from collections.abc import Callable, Iterator
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from DinoUNetCore.weights.safetensors_header import LENGTH_BYTES, TensorPlace, header_length, parse_header

_BLOCK = 1 << 20  # bytes
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


def read_tensors(file: BinaryIO, size: int) -> tuple[dict[str, Tensor], str]:
    """All tensors of an open file of `size` bytes, and its hexadecimal SHA-256. ValueError if it is damaged."""
    total = hashlib.sha256()

    def blocks(count: int) -> Iterator[bytes]:
        while count:
            block = file.read(min(count, _BLOCK))
            if not block:
                raise ValueError("its end is missing")
            total.update(block)
            count -= len(block)
            yield block

    length = header_length(b"".join(blocks(min(size, LENGTH_BYTES))), size)
    data_size = size - LENGTH_BYTES - length
    places = parse_header(b"".join(blocks(length)), data_size)
    tensors, position = {}, 0
    for name, place in sorted(places.items(), key=lambda item: (item[1].start, item[1].size)):
        if place.start != position:
            raise ValueError("its tensors overlap or leave gaps")
        tensors[name] = _receive(place, blocks)
        position += place.size
    if position != data_size:
        raise ValueError("it holds more than its tensors")
    return tensors, total.hexdigest()


def _receive(place: TensorPlace, blocks: Callable[[int], Iterator[bytes]]) -> Tensor:
    values, filled = torch.empty(place.size, dtype=torch.uint8), 0
    for block in blocks(place.size):
        values.numpy()[filled : filled + len(block)] = np.frombuffer(block, np.uint8)
        filled += len(block)
    return values.view(_DTYPES[place.dtype]).reshape(place.shape)
