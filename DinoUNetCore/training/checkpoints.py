"""Checkpoints: everything that a training needs to go on as if it had never stopped, without pickle.

NAME.safetensors holds the tensors and, in its header, the rest as JSON: one file, so that both always belong together.
NAME.json repeats the JSON for people to read.
"""

import json
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from DinoUNetCore.errors import UserError
from DinoUNetCore.files import atomic_path, write_json
from DinoUNetCore.weights.tensors import save_tensors


def save_checkpoint(
    path: Path,
    network: nn.Module,
    optimizer: torch.optim.Optimizer | None,
    state: dict[str, Any],
    random: dict[str, Tensor] | None = None,
) -> None:
    """Write `path` (.safetensors) and the .json beside it. Frozen backbones are left out: they do not change.

    random: states of random generators by name, in the middle of an epoch; `random_states` reads them again.
    """
    tensors = {f"network.{name}": tensor for name, tensor in changing_tensors(network).items()}
    if optimizer is not None:
        packed = optimizer.state_dict()
        for index, entries in packed["state"].items():
            for key, value in entries.items():
                tensors[f"optimizer.{index}.{key}"] = torch.as_tensor(value)
    tensors |= {f"random.{name}": tensor for name, tensor in (random or {}).items()}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_path(path) as temporary:
        save_tensors(temporary, tensors, {"state": json.dumps(state)})
    write_json(path.with_suffix(".json"), state)


def load_checkpoint(path: Path, network: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> dict[str, Any]:
    """Load a checkpoint into network and optimizer, in place; returns its state. UserError if it is damaged."""
    try:
        with safetensors.safe_open(path, "pt") as file:
            state = json.loads(file.metadata()["state"])
            # copies: a mapped file could not be replaced by the next checkpoint on Windows
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - not a dict
    except (OSError, safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"the checkpoint {path} is damaged ({error}); train again into a new folder.") from error
    weights = {n.removeprefix("network."): t for n, t in tensors.items() if n.startswith("network.")}
    if set(weights) != set(changing_tensors(network)):
        raise UserError(f"the checkpoint {path} belongs to another network; give another run folder.")
    network.load_state_dict(weights, strict=False)
    if optimizer is not None:
        packed = optimizer.state_dict()
        packed["state"] = _optimizer_state(tensors)
        optimizer.load_state_dict(packed)
    return state


def random_states(path: Path) -> dict[str, Tensor]:
    """The states of random generators in a checkpoint that `load_checkpoint` has read; none between two epochs."""
    with safetensors.safe_open(path, "pt") as file:
        names = [name for name in file.keys() if name.startswith("random.")]  # noqa: SIM118 - not a dict
        return {name.removeprefix("random."): file.get_tensor(name).clone() for name in names}


def changing_tensors(network: nn.Module) -> dict[str, Tensor]:
    """What a training may change: all parameters and buffers but the parameters of a frozen backbone."""
    frozen = {name for name, p in network.named_parameters() if not p.requires_grad and name.startswith("backbone.")}
    return {name: tensor for name, tensor in network.state_dict().items() if name not in frozen}


def _optimizer_state(tensors: dict[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".", 2)
            state.setdefault(int(index), {})[key] = tensor
    return state
