"""Tensors read in one pass: what safetensors wrote is what comes out, and damage is told before much is read."""

import hashlib
import io
import json

import pytest
import safetensors.torch
import torch

from DinoUNetCore.weights.tensor_stream import read_tensors

TENSORS = {
    "a": torch.randn(300, 1001),
    "b.bf16": torch.randn(3, 5).bfloat16(),
    "c": torch.randn(7).half(),
    "scale": torch.tensor(2.5, dtype=torch.float64),
    "count": torch.arange(5),
    "mask": torch.tensor([True, False, True]),
    "empty": torch.zeros(0, 4),
    "bytes": torch.arange(9, dtype=torch.uint8),
}


def read(content: bytes):
    return read_tensors(io.BytesIO(content), len(content))


def test_all_dtypes_and_shapes_come_back_with_the_file_s_sha256():
    content = safetensors.torch.save(TENSORS, {"format": "pt"})
    tensors, sha256 = read(content)
    assert sha256 == hashlib.sha256(content).hexdigest() and tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == tensor.dtype and torch.equal(tensors[name], tensor), name


def file_of(header, data=b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(start, end, **changes):
    return {"dtype": "F32", "shape": [(end - start) // 4], "data_offsets": [start, end]} | changes


DAMAGE = {
    "nothing": (b"", "no header"),
    "a few bytes": (b"abc", "no header"),
    "a header that is too long": ((1 << 62).to_bytes(8, "little"), "no header"),
    "no JSON": (file_of(b"{"), "Expecting"),
    "no table": (file_of([1]), "header"),
    "an unknown dtype": (file_of({"a": entry(0, 4, dtype="F4")}, bytes(4)), "values of the kind F4"),
    "more than there is": (file_of({"a": entry(0, 1 << 40)}, bytes(4)), "contradict"),
    "a size that is none": (file_of({"a": entry(0, 4, shape=[1.0])}, bytes(4)), "no counts"),
    "a gap": (file_of({"a": entry(0, 4), "b": entry(8, 12)}, bytes(12)), "overlap or leave gaps"),
    "the same bytes twice": (file_of({"a": entry(0, 8), "b": entry(4, 8)}, bytes(8)), "overlap or leave gaps"),
    "something behind": (file_of({"a": entry(0, 4)}, bytes(8)), "more than its tensors"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_damaged_is_a_value_error_that_says_why(damage):
    content, reason = DAMAGE[damage]
    with pytest.raises(ValueError, match=reason):
        read(content)


def test_a_file_that_ends_too_early_is_told():
    content = safetensors.torch.save(TENSORS)
    with pytest.raises(ValueError, match="its end is missing"):
        read_tensors(io.BytesIO(content[:-100]), len(content))
