"""What a training begins with: its network and its machine."""

import platform
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from DinoUNetCore.dataset.label_scheme import scheme_of
from DinoUNetCore.dataset.plan import Plan
from DinoUNetCore.device import choose_device
from DinoUNetCore.errors import UserError
from DinoUNetCore.network.dino_unet import DinoUNet
from DinoUNetCore.network.variants import VARIANTS, Variant
from DinoUNetCore.training.backbone_placement import place_together
from DinoUNetCore.training.pretrained import load_pretrained, pretrained_backbone, pretrained_of_run
from DinoUNetCore.training.settings import Settings
from DinoUNetCore.weights.backbone_weights import BackboneWeights
from DinoUNetCore.weights.bundle import ModelBundle
from DinoUNetCore.weights.dinov3 import HUB, comes_from_hub, find_backbone, load_backbone
from DinoUNetCore.weights.placement import Placement, place_backbone
from DinoUNetCore.weights.timm_names import variant_of


def make_network(
    settings: Settings,
    plan: Plan,
    say: Callable[[str], None] = print,
    folder: Path | None = None,
    placement: Placement | None = None,
) -> DinoUNet:
    """The network at the start of a training, on its device. UserError when its backbone's weights cannot be had.

    folder: RUN. A training that goes on there from a checkpoint does without the weights that the checkpoint holds.
    The matrices of a frozen public backbone are kept in the dtype they are computed in. placement: of such a one, as
    all processes have chosen it; None: as this one chooses.
    """
    torch.manual_seed(settings.seed)
    channels, device = len(plan.channel_names) * plan.context_slices, choose_device(settings.device)
    bundle = pretrained_of_run(settings, folder)
    if settings.shard_backbone:
        _check_for_sharding(settings, bundle)
    if bundle is None:
        variant, weights = _variant_and_backbone(settings)
    else:
        variant, weights = bundle.variant, pretrained_backbone(bundle, settings)
    if weights is not None:
        say(f"The backbone's weights come from {weights.origin}.")
    network = DinoUNet(
        variant, channels, scheme_of(plan).outputs, settings.train_backbone, backbone_device="meta" if weights else None
    )
    if weights is None:
        if bundle is None and variant.timm_model and not network.backbone.trainable:
            say("warning: the backbone is random and frozen; add --train-backbone unless this is a test.")
        network.to(device)
    elif network.backbone.trainable:
        load_backbone(network.backbone, weights, device)
    else:
        placement = placement or place_together(settings)
        if placement.note:
            say(placement.note if placement.where == "processes" else f"warning: {placement.note}")
        if settings.shard_backbone and placement.where != "processes":
            say("warning: --shard-backbone has no effect on a single process.")
        place_backbone(network.backbone, weights, device, placement)
    for name, part in network.named_children():
        if name != "backbone":
            part.to(device)
    if bundle is not None:
        say(load_pretrained(network, bundle, scheme_of(plan)))
    return network


def _check_for_sharding(settings: Settings, bundle: ModelBundle | None) -> None:
    public = settings.backbone_source != "random" if bundle is None else not bundle.stores_backbone
    if settings.trains_backbone or not public:
        raise UserError(
            "--shard-backbone is for a frozen backbone of public weights, and this training has none; leave it out."
        )


def _variant_and_backbone(settings: Settings) -> tuple[Variant, BackboneWeights | None]:
    """What the variant is called with the weights that were chosen, and these; None: they are random."""
    variant, source = VARIANTS[settings.variant], settings.backbone_source
    if comes_from_hub(source) and source != HUB:
        if variant_of(source) != settings.variant:  # told before a licence is asked for and gigabytes are downloaded
            raise UserError(
                f"{source} is not the name of weights for the variant {settings.variant}; give another --backbone or "
                "--variant."
            )
        variant = replace(variant, timm_model=source)
    return variant, None if source == "random" else find_backbone(source, variant.timm_model)


def hardware(device: torch.device) -> str:
    """The machine in a few words, for the model card."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return f"{device.type} ({name}), {torch.get_num_threads()} threads, torch {torch.__version__}"
