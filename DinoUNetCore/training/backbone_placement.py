"""Where the processes of a training keep a frozen backbone, which they have to choose together."""

import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch

from DinoUNetCore.device import choose_device, choose_precision
from DinoUNetCore.network.backbone import Backbone
from DinoUNetCore.network.variants import VARIANTS
from DinoUNetCore.training.processes import ALONE, Processes
from DinoUNetCore.training.settings import Settings
from DinoUNetCore.weights.placement import TRAINING_RESERVE, Placement, choose_placement, free_memory, share_among


def place_together(
    settings: Settings, processes: Processes = ALONE, free: Callable[[torch.device], int] = free_memory
) -> Placement | None:
    """Where each process keeps the backbone; None if it is trained.

    It is shared out where the user wants that, or where a device has no room for it whole and all have room for their
    share. All processes call this, before any has loaded anything. free: asks for a device's free bytes.
    """
    if settings.trains_backbone:
        return None
    variant, device = VARIANTS[settings.variant], choose_device(settings.device)
    with torch.device("meta"):
        backbone = Backbone(variant.vit, variant.taps)
    precision = choose_precision(settings.precision, device)
    part_of_free = partial(_part_of_free, free, device)
    choose = partial(choose_placement, backbone, device, precision, TRAINING_RESERVE, free=part_of_free)
    if processes.count == 1:
        return choose()
    wanted = set(processes.gather(choose(processes=processes.count).where))
    if settings.shard_backbone or ("processes" in wanted and wanted <= {"device", "processes"}):
        return replace(share_among(backbone, precision, processes.count), group=processes.new_group())
    return choose()


def _part_of_free(free: Callable[[torch.device], int], computes_on: torch.device, device: torch.device) -> int:
    """What a device has free for one process; those on one computer share its memory, each has a GPU of its own."""
    if device.type == "cuda":
        return free(device)
    on_this_computer = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if computes_on.type == "cuda":  # blocks wait there, nothing else
        return free(device) // on_this_computer
    return TRAINING_RESERVE + (free(device) - TRAINING_RESERVE) // on_this_computer
