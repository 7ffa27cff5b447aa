"""Tensors to files and into modules, and the SHA-256 of files and of sets of tensors."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from DinoUNetCore.weights.bundle_files import stream_sha256

_VALUES_AT_ONCE = 1 << 22  # a float32 copy of a whole large tensor would take twice its memory


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file. OSError when it cannot be written (the library has an error of its own for that)."""
    try:
        safetensors.torch.save_file(dict(tensors), path, metadata=metadata)
    except safetensors.SafetensorError as error:
        raise OSError(str(error)) from error


def assign_tensor(module: nn.Module, name: str, tensor: Tensor) -> None:
    """Put a tensor in the place of a parameter or buffer, whatever device or dtype that has; nothing is copied."""
    path, _, leaf = name.rpartition(".")
    owner = module.get_submodule(path)
    old = getattr(owner, leaf)
    setattr(owner, leaf, nn.Parameter(tensor, old.requires_grad) if isinstance(old, nn.Parameter) else tensor)


def file_sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return stream_sha256(file)


class TensorDigest:
    """SHA-256 over names, shapes and float32 values, whatever file the tensors came from. Names in ascending order."""

    def __init__(self):
        self._digest = hashlib.sha256()
        self._buffer = torch.empty(_VALUES_AT_ONCE)  # one for all: the memory would be full of holes otherwise

    def update(self, name: str, tensor: Tensor) -> None:
        self._digest.update(f"{name}{tuple(tensor.shape)}".encode())
        values = tensor.detach().flatten()
        for start in range(0, len(values), len(self._buffer)):
            part = values[start : start + len(self._buffer)]
            self._digest.update(self._buffer[: len(part)].copy_(part).numpy())

    def hexdigest(self) -> str:
        return self._digest.hexdigest()


def tensors_sha256(tensors: Mapping[str, Tensor]) -> str:
    """The `TensorDigest` of a set of tensors."""
    digest = TensorDigest()
    for name in sorted(tensors):
        digest.update(name, tensors[name])
    return digest.hexdigest()
