"""Where a backbone's weights are kept while a network computes: on its device, shared out among the devices of several
processes, in the computer's memory, or on disk.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil
import torch

from DinoUNetCore.network.backbone import Backbone
from DinoUNetCore.weights.backbone_weights import BackboneWeights
from DinoUNetCore.weights.dinov3 import load_backbone
from DinoUNetCore.weights.sharding import share_backbone
from DinoUNetCore.weights.streaming import stream_backbone

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

RESERVE, TRAINING_RESERVE = 1_500_000_000, 6_000_000_000
"""Bytes of a device's free memory that are left for the rest of the network and for what it computes."""


@dataclass(frozen=True)
class Placement:
    """where: "device", "processes", "memory" or "disk". dtype: of the matrices. note: a sentence on what this costs, or
    "". group: of the processes that share it.
    """

    where: str
    dtype: torch.dtype
    note: str = ""
    group: "ProcessGroup | None" = None


def choose_placement(
    backbone: Backbone,
    device: torch.device,
    dtype: torch.dtype | None,
    reserve: int = RESERVE,
    may_stream: bool = True,
    free: Callable[[torch.device], int] | None = None,
    processes: int = 1,
) -> Placement:
    """On the device if it has room, else shared out among processes, else in the computer's memory, else on disk.

    dtype None: float32, or bfloat16 where only that has room. reserve: bytes of the device that others need.
    may_stream: whether memory or disk will do. free: asks for a device's free bytes; None: `free_memory`. processes:
    that may share it out.
    """
    free = free or free_memory
    room = free(device) - reserve
    wanted = [torch.float32, torch.bfloat16] if dtype is None else [dtype]
    for candidate in wanted:
        if size_in(backbone, candidate) <= room or (candidate == wanted[-1] and not may_stream):
            return Placement("device", candidate, _shortened(backbone, candidate) if candidate != wanted[0] else "")
    shortest = wanted[-1]
    if processes > 1 and share_in(backbone, shortest, processes) <= room:
        return share_among(backbone, shortest, processes)
    size = size_in(backbone, shortest)
    in_memory = device.type == "cuda" and size <= free(torch.device("cpu")) - RESERVE
    source, speed = ("the computer's memory", 10e9) if in_memory else ("the disk", 1e9)  # bytes per second, about
    note = (
        f"the backbone ({size / 1e9:.1f} GB) does not fit into the {free(device) / 1e9:.1f} GB that {device} has free: "
        f"its blocks come from {source} in every pass, which takes about {size / speed:.0f} s more each time."
    )
    return Placement("memory" if in_memory else "disk", shortest, note)


def share_among(backbone: Backbone, dtype: torch.dtype, processes: int) -> Placement:
    """Shared out; the group of processes is still to be named."""
    size, share = size_in(backbone, dtype), share_in(backbone, dtype, processes)
    note = (
        f"The backbone ({size / 1e9:.1f} GB) is shared out among {processes} processes: each keeps some of its blocks, "
        f"gets the others in every pass, and needs {share / 1e9:.1f} GB for it."
    )
    return Placement("processes", dtype, note)


def place_backbone(
    backbone: Backbone, weights: BackboneWeights, device: torch.device, placement: Placement
) -> None:
    """Load public weights to where they were decided to be. UserError when they do not fit the backbone."""
    if placement.where == "device":
        load_backbone(backbone, weights, device, placement.dtype)
    elif placement.where == "processes":
        share_backbone(backbone, weights, device, placement.dtype, placement.group)
    else:
        stream_backbone(backbone, weights, device, placement.dtype, in_memory=placement.where == "memory")


def size_in(backbone: Backbone, dtype: torch.dtype) -> int:
    """Bytes of a backbone, on whatever device it is, when its weights are kept in `dtype`."""
    return sum(tensor.numel() for tensor in backbone.vit.state_dict().values()) * dtype.itemsize


def share_in(backbone: Backbone, dtype: torch.dtype, processes: int) -> int:
    """Bytes that one of several processes needs at most for its share: its own blocks, and two that come and go."""
    blocks = backbone.vit.blocks
    absent = max(0, len(blocks) - math.ceil(len(blocks) / processes) - 2)
    of_block = sum(parameter.numel() for parameter in blocks[0].parameters()) * dtype.itemsize
    return size_in(backbone, dtype) - absent * of_block


def free_memory(device: torch.device) -> int:
    """Bytes that this process can still use on a device; Apple's GPUs share the computer's memory."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        allocated = torch.cuda.memory_allocated(device)
        fraction = getattr(torch.cuda, "get_per_process_memory_fraction", lambda device: 1.0)  # older ones do not tell
        allowed = int(fraction(device) * total)  # see `limit_memory`
        return min(free + torch.cuda.memory_reserved(device), allowed) - allocated
    return psutil.virtual_memory().available


def _shortened(backbone: Backbone, dtype: torch.dtype) -> str:
    short, long = size_in(backbone, dtype) / 1e9, size_in(backbone, torch.float32) / 1e9
    return (
        f"in float32 the backbone would take {long:.1f} GB, for which there is no room: it is kept, and the network "
        f"computes, in {str(dtype).removeprefix('torch.')} ({short:.1f} GB)."
    )
