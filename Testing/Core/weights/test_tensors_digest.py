"""The SHA-256 of tensors without torch: that of `tensors_sha256`, or a ValueError."""

import json

import pytest
import safetensors.torch
import torch

from DinoUNetCore.weights.tensors import tensors_sha256
from DinoUNetCore.weights.tensors_digest import tensors_digest


def tensors(dtype):
    generator = torch.Generator().manual_seed(0)
    names = {"cls_token": (1, 1, 8), "blocks.10.w": (300, 1000), "blocks.2.w": (3, 5), "norm.bias": (7,), "scale": ()}
    return {name: torch.randn(shape, generator=generator).to(dtype) for name, shape in names.items()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_it_is_the_one_that_bundles_name_whatever_the_dtype(tmp_path, dtype):
    safetensors.torch.save_file(tensors(dtype), tmp_path / "a.safetensors", {"format": "pt"})
    assert tensors_digest([tmp_path / "a.safetensors"]) == tensors_sha256(tensors(dtype))


def test_it_does_not_depend_on_files_nor_on_the_periods(tmp_path):
    whole = tensors(torch.float32)
    first = {name: whole.pop(name) for name in ("blocks.2.w", "scale")}
    safetensors.torch.save_file(first, tmp_path / "1.safetensors")
    safetensors.torch.save_file(whole | {"rope_embed.periods": torch.ones(3)}, tmp_path / "2.safetensors")
    paths = [tmp_path / "1.safetensors", tmp_path / "2.safetensors"]
    assert tensors_digest(paths) == tensors_sha256(tensors(torch.float32))
    safetensors.torch.save_file(first, tmp_path / "3.safetensors")
    with pytest.raises(ValueError, match="in two files"):
        tensors_digest([*paths, tmp_path / "3.safetensors"])


def file_of(header, data=b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"abc",
        (1 << 62).to_bytes(8, "little"),
        file_of(b"{"),
        file_of([1]),
        file_of({"a": 1}),
        file_of({"a": {"dtype": "F32", "shape": [2]}}),
        file_of({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}),  # but there are no data
        file_of({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, bytes(8)),
        file_of({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [4, 0]}}, bytes(8)),
        file_of({"a": {"dtype": "F32", "shape": ["x"], "data_offsets": [0, 8]}}, bytes(8)),
        file_of({"a": {"dtype": "I64", "shape": [1], "data_offsets": [0, 8]}}, bytes(8)),
    ],
)
def test_what_is_damaged_is_told_with_its_name(tmp_path, content):
    (tmp_path / "odd.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=r"odd\.safetensors is no file of tensors"):
        tensors_digest([tmp_path / "odd.safetensors"])
