"""Tensors in files, read one by one: .safetensors, several of them with an index, and torch's .pth."""

import json
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import Tensor

from DinoUNetCore.errors import UserError
from DinoUNetCore.weights.safetensors_header import LARGEST_HEADER

INDEX_ENDING = ".safetensors.index.json"
_ENDINGS = (".safetensors", ".pth", ".pt", ".bin")
_MAPPED_AT_ONCE = 1 << 30  # bytes
_SAFETENSORS, _PICKLE, _INDEX = "safetensors", "pickle", "index"


class TensorFiles(Mapping[str, Tensor]):
    """The tensors of one or several files by name, read when they are asked for.

    Each file is mapped into memory only while one of its tensors is copied out of it, so that reading all of them one
    after the other never holds more than one twice. What is read belongs to the reader.

    path: a file, or a folder with one file of weights or with an index of several. The form is told by the content.
    only_safetensors: take this form only.

    UserError when there is none, or it is damaged or holds anything but tensors; nothing of it is ever executed.
    """

    def __init__(self, path: str | Path, only_safetensors: bool = False):
        self.path = _find(Path(path))
        if only_safetensors and _form(self.path) != _SAFETENSORS:
            raise UserError(f"{self.path} is damaged or no file of safetensors, and is not loaded; get it again.")
        self._files: dict[str, Path] = {}  # by the tensor's name
        self._shapes: dict[str, tuple[int, ...]] = {}
        for file in _parts(self.path):
            for name, shape in _read_shapes(file).items():
                self._files[name], self._shapes[name] = file, shape

    def __getitem__(self, name: str) -> Tensor:
        file = self._files[name]
        if _form(file) == _PICKLE:
            return _load_pickle(file)[name].clone()
        with _reading(file), safetensors.safe_open(file, "pt") as opened:
            return opened.get_tensor(name).clone()

    def read(self, names: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
        """Several tensors in this order: faster for .pth files, which are opened anew for about every gigabyte only."""
        opened, copied = None, 0
        for name in names:
            if _form(self._files[name]) != _PICKLE:
                yield name, self[name]
                continue
            if opened is None or copied > _MAPPED_AT_ONCE:
                opened, copied = _load_pickle(self._files[name]), 0
            copied += opened[name].nbytes
            yield name, opened[name].clone()

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    def shape(self, name: str) -> tuple[int, ...]:
        """Read from the file's header."""
        return self._shapes[name]

    @property
    def files(self) -> list[Path]:
        """The files of weights themselves."""
        return sorted(set(self._files.values()))


class _reading:  # noqa: N801 - used like a function
    """What can go wrong while a safetensors file is read, as a UserError."""

    def __init__(self, path: Path):
        self.path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind, error, trace) -> None:
        if isinstance(error, safetensors.SafetensorError | OSError | RuntimeError | ValueError):
            raise UserError(
                f"{self.path} is damaged or no file of weights ({_first_line(error)}); get it again."
            ) from error


def _find(path: Path) -> Path:
    if not path.exists():
        raise UserError(f"the file of weights {path} does not exist; check the name.")
    if not path.is_dir():
        return path
    names = sorted(entry.name for entry in path.iterdir() if entry.is_file())
    found = [name for name in names if name.endswith(INDEX_ENDING)] or [
        name for name in names if Path(name).suffix.lower() in _ENDINGS
    ]
    if not found:
        raise UserError(f"the folder {path} holds no file of weights (.safetensors or .pth); name another one.")
    if len(found) > 1:
        raise UserError(f"the folder {path} holds several files of weights ({', '.join(found[:4])}); name one of them.")
    return path / found[0]


def _parts(path: Path) -> list[Path]:
    """The file itself, or those that an index names."""
    if _form(path) != _INDEX:
        return [path]
    try:
        names = set(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values())
        if not names or not all(isinstance(name, str) and Path(name).name == name for name in names):
            raise ValueError("it names no files beside it")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is no index of weights or is damaged ({error}); get it again.") from error
    for name in sorted(names):
        if not (path.parent / name).is_file():
            raise UserError(f"{path.parent} lacks {name}, which {path.name} names; get the missing file.")
    return [path.parent / name for name in sorted(names)]


def _form(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            start = file.read(9)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}; check it and its permissions.") from error
    if start[8:] == b"{" and int.from_bytes(start[:8], "little") <= LARGEST_HEADER:
        return _SAFETENSORS
    if start[:4] == b"PK\x03\x04" or start[:2] == b"\x80\x02":
        return _PICKLE
    return _INDEX if start[:1] == b"{" else _SAFETENSORS


def _read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    if _form(path) == _PICKLE:
        return {name: tuple(tensor.shape) for name, tensor in _load_pickle(path).items()}
    with _reading(path), safetensors.safe_open(path, "pt") as opened:
        return {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118 - no mapping


def _load_pickle(path: Path) -> dict[str, Tensor]:
    """What torch.save wrote, mapped into memory where possible. Nothing but tensors is unpickled."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of tensors in older storage types
            tensors = _torch_load(path)
    except MemoryError:
        raise
    except Exception as error:  # pickle.UnpicklingError, and whatever a damaged stream provokes
        raise UserError(
            f"{path} is damaged or holds more than weights, and is not loaded; get it again."
        ) from error
    if not isinstance(tensors, dict) or not tensors or not all(isinstance(v, Tensor) for v in tensors.values()):
        raise UserError(f"{path} holds no plain table of tensors; give Meta's or timm's file of backbone weights.")
    return tensors


def _torch_load(path: Path) -> Any:
    if path.suffix.lower() != ".safetensors":  # torch.load goes by this name, not by the content
        try:
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError as error:
            if "mmap" not in str(error):  # files of old versions of torch cannot be mapped
                raise
    with open(path, "rb") as file:
        return torch.load(file, map_location="cpu", weights_only=True)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
