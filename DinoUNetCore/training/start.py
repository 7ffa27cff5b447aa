"""What a training begins with: its network and its machine."""

import os
import platform
from collections.abc import Callable
from dataclasses import replace

import torch

from DinoUNetCore.dataset.plan import Plan
from DinoUNetCore.device import choose_device, choose_precision
from DinoUNetCore.errors import UserError
from DinoUNetCore.network.dino_unet import DinoUNet
from DinoUNetCore.network.variants import VARIANTS
from DinoUNetCore.training.settings import Settings
from DinoUNetCore.weights.dinov3 import HUB, comes_from_hub, find_backbone, load_backbone
from DinoUNetCore.weights.placement import TRAINING_RESERVE, choose_placement, place_backbone
from DinoUNetCore.weights.timm_names import variant_of


def make_network(settings: Settings, plan: Plan, say: Callable[[str], None] = print) -> DinoUNet:
    """The network at the start of a training, on its device. UserError when its backbone's weights cannot be had.

    The matrices of a frozen public backbone are kept in the dtype they are computed in.
    """
    torch.manual_seed(settings.seed)
    channels, device = len(plan.channel_names) * plan.context_slices, choose_device(settings.device)
    variant, source = VARIANTS[settings.variant], settings.backbone_source
    if comes_from_hub(source) and source != HUB:
        if variant_of(source) != settings.variant:  # told before a licence is asked for and gigabytes are downloaded
            raise UserError(
                f"{source} is not the name of weights for the variant {settings.variant}; give another --backbone or "
                "--variant."
            )
        variant = replace(variant, timm_model=source)
    weights = None if source == "random" else find_backbone(source, variant.timm_model)
    if weights is not None:
        say(f"The backbone's weights come from {weights.origin}.")
    network = DinoUNet(
        variant, channels, len(plan.labels), settings.train_backbone, backbone_device="meta" if weights else None
    )
    if weights is None:
        if variant.timm_model and not network.backbone.trainable:
            say("warning: the backbone is random and frozen; add --train-backbone unless this is a test.")
        return network.to(device)
    if network.backbone.trainable:
        load_backbone(network.backbone, weights, device)
    else:
        precision = choose_precision(settings.precision, device)
        placement = choose_placement(network.backbone, device, precision, reserve=TRAINING_RESERVE)
        if placement.note:
            say(f"warning: {placement.note}")
        place_backbone(network.backbone, weights, device, placement)
    for name, part in network.named_children():
        if name != "backbone":
            part.to(device)
    return network


def default_workers(device: torch.device) -> int:
    """Loader processes: none beside a CPU that computes, up to 12 beside a GPU."""
    return 0 if device.type == "cpu" else min(12, max(1, (os.cpu_count() or 2) - 2))


def hardware(device: torch.device) -> str:
    """The machine in a few words, for the model card."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return f"{device.type} ({name}), {torch.get_num_threads()} threads, torch {torch.__version__}"


def loader_problem(error: UserError | RuntimeError) -> UserError | None:
    """What went wrong in a process that prepares batches, in one sentence; None if it was something else."""
    text = str(error)
    if isinstance(error, UserError):  # the loader puts the process's traceback around it
        return UserError(text.rpartition("UserError: ")[2].strip()) if "Traceback" in text else None
    if "DataLoader worker" not in text:
        return None
    return UserError(
        "a process that prepares batches has ended unexpectedly, often for want of memory; go on with --resume, "
        "perhaps with fewer --workers."
    )
