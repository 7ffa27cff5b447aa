"""Where a backbone's weights are kept while a network computes: on its device, in the computer's memory, or on disk."""

from dataclasses import dataclass
from math import prod

import psutil
import torch

from DinoUNetCore.network.backbone import Backbone
from DinoUNetCore.weights.backbone_weights import BackboneWeights
from DinoUNetCore.weights.dinov3 import load_backbone
from DinoUNetCore.weights.streaming import stream_backbone

RESERVE, TRAINING_RESERVE = 1_500_000_000, 6_000_000_000
"""Bytes of a device's free memory that are left for the rest of the network and for what it computes."""


@dataclass(frozen=True)
class Placement:
    """where: "device", "memory" or "disk". dtype: of the matrices. note: a sentence on what this costs, or ""."""

    where: str
    dtype: torch.dtype
    note: str = ""


def choose_placement(
    weights: BackboneWeights, device: torch.device, dtype: torch.dtype | None, reserve: int = RESERVE
) -> Placement:
    """On the device if it has room, else in the computer's memory, else on disk.

    dtype None: float32, or bfloat16 where only that has room. reserve: bytes of the device that others need.
    """
    room = free_memory(device) - reserve
    wanted = [torch.float32, torch.bfloat16] if dtype is None else [dtype]
    for candidate in wanted:
        if size_in(weights, candidate) <= room:
            unusual = candidate != wanted[0]
            return Placement("device", candidate, _note(weights, candidate, "is kept in bfloat16") if unusual else "")
    size = size_in(weights, wanted[-1])
    if device.type == "cuda" and size <= free_memory(torch.device("cpu")) - RESERVE:
        return Placement("memory", wanted[-1], _streamed(weights, wanted[-1], device, "the computer's memory", 10e9))
    return Placement("disk", wanted[-1], _streamed(weights, wanted[-1], device, "the disk", 1e9))


def place_backbone(
    backbone: Backbone, weights: BackboneWeights, device: torch.device, placement: Placement
) -> None:
    """Load public weights to where they were decided to be. UserError when they do not fit the backbone."""
    if placement.where == "device":
        load_backbone(backbone, weights, device, placement.dtype)
    else:
        stream_backbone(backbone, weights, device, placement.dtype, in_memory=placement.where == "memory")


def size_in(weights: BackboneWeights, dtype: torch.dtype) -> int:
    """Bytes of the weights when they are kept in `dtype`."""
    return sum(map(prod, weights.shapes.values())) * dtype.itemsize


def free_memory(device: torch.device) -> int:
    """Bytes that can still be used on a device; Apple's GPUs share the computer's memory."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return psutil.virtual_memory().available


def _note(weights: BackboneWeights, dtype: torch.dtype, what: str) -> str:
    return f"the backbone ({size_in(weights, dtype) / 1e9:.1f} GB) {what}."


def _streamed(weights: BackboneWeights, dtype: torch.dtype, device: torch.device, source: str, speed: float) -> str:
    """speed: bytes per second that can be expected of it."""
    size = size_in(weights, dtype)
    return _note(
        weights,
        dtype,
        f"does not fit into the {free_memory(device) / 1e9:.1f} GB that {device} has free: its blocks come from "
        f"{source} in every pass, which takes about {size / speed:.0f} s more each time",
    )
