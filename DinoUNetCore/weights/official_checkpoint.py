"""Checkpoint files of the authors' code, an nnU-Net v2: read without running anything that lies in them."""

import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from DinoUNetCore.errors import UserError

_PICKLE = b"\x80\x02"  # how files begin that torch.save wrote before its version 1.6
_AXES = ("rows", "columns")


@dataclass(frozen=True)
class OfficialCheckpoint:
    """What is of use in a checkpoint; None where it does not say.

    weights: the network's state dict, under the authors' names. configuration, data_set: of the plans trained with.
    epochs: how many were finished. mirror: the axes on which the training mirrored, a subset of ["rows", "columns"].
    """

    weights: Mapping[str, Tensor]
    configuration: str = "2d"
    data_set: str | None = None
    trainer: str | None = None
    fold: int | str | None = None
    epochs: int | None = None
    mirror: tuple[str, ...] = _AXES  # both, in the authors' recipe


def read_official_checkpoint(path: str | Path) -> OfficialCheckpoint:
    """Read a .pth file of the authors' code, or one that holds nothing but its network's state dict.

    The tensors stay in the file, mapped into memory, until they are used (files of torch before 1.6 are read whole).

    UserError when it is no checkpoint, is damaged, or holds objects of Python, of which none is made.
    """
    path = Path(path)
    content = _load(path)
    if _is_whole(content):
        weights, facts = content["network_weights"], content
    else:
        weights, facts = content, {}
    if not isinstance(weights, Mapping) or not weights or not all(map(_is_plain_tensor, weights.values())):
        raise UserError(
            f"{path} holds no weights of a network ('network_weights'); give a checkpoint_final.pth that the authors' "
            "code saved."
        )
    arguments = facts.get("init_args")
    arguments = arguments if isinstance(arguments, Mapping) else {}
    plans = arguments.get("plans")
    return OfficialCheckpoint(
        weights={str(name): tensor for name, tensor in weights.items()},
        configuration=_text(arguments.get("configuration")) or "2d",
        data_set=_text(plans.get("dataset_name")) if isinstance(plans, Mapping) else None,
        trainer=_text(facts.get("trainer_name")),
        fold=_text(arguments.get("fold")) or _count(arguments.get("fold")),
        epochs=_count(facts.get("current_epoch")),
        mirror=_mirror(facts),
    )


def is_official_checkpoint(path: Path) -> bool:
    """Whether a file is a checkpoint of the authors' code, with all that it has beside the weights."""
    try:
        return _is_whole(_load(path))
    except UserError:
        return False


def _is_whole(content: Any) -> bool:
    return isinstance(content, Mapping) and isinstance(content.get("network_weights"), Mapping)


def _load(path: Path) -> Any:
    try:
        with open(path, "rb") as file:
            start = file.read(4)
        archive = zipfile.is_zipfile(path)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}; give a checkpoint (.pth).") from error
    if not archive and start[:2] == b"PK":
        raise UserError(f"{path} is damaged: its end is missing; copy it again.")
    if not archive and start[:2] != _PICKLE:
        raise UserError(f"{path} is no checkpoint of PyTorch; give a checkpoint_final.pth of the authors' code.")
    try:
        with torch.serialization.safe_globals(_STAND_INS):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=archive)
    except MemoryError:
        raise
    except Exception as error:  # a damaged stream makes torch raise many kinds
        if found := re.search(r"GLOBAL (\S+)", str(error)):
            raise UserError(
                f"{path} is not loaded, because it holds a pickled {found[1]}, which may be a program; give a "
                "checkpoint as the authors' code saves it."
            ) from error
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path} is damaged or no checkpoint ({reason}); copy it again.") from error


class _Ignored:
    """Takes the place of a NumPy number or dtype: nothing of NumPy is called, and its value is dropped."""

    def __init__(self, *_: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        pass


# The log of a training holds NumPy's numbers, pickled under the names that they have in NumPy 1 or 2.
_STAND_INS = [
    type(name, (_Ignored,), {"__module__": module})
    for module, name in (("numpy", "dtype"), ("numpy.core.multiarray", "scalar"), ("numpy._core.multiarray", "scalar"))
]


def _mirror(facts: Mapping[str, Any]) -> tuple[str, ...]:
    if "inference_allowed_mirroring_axes" not in facts:
        return OfficialCheckpoint.mirror
    axes = facts["inference_allowed_mirroring_axes"]
    axes = axes if isinstance(axes, tuple | list) else ()
    return tuple(name for number, name in enumerate(_AXES) if number in axes)


def _is_plain_tensor(value: Any) -> bool:
    return (
        isinstance(value, Tensor)
        and value.device.type == "cpu"
        and value.layout == torch.strided
        and not value.is_quantized
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value and value.isprintable() else None


def _count(value: Any) -> int | None:
    return value if type(value) is int and value >= 0 else None
