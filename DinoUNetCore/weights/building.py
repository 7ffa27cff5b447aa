"""From a bundle to its network: the weights go to their device tensor by tensor, and nothing is held twice."""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from DinoUNetCore.errors import UserError
from DinoUNetCore.network.backbone import Backbone
from DinoUNetCore.network.dino_unet import DinoUNet
from DinoUNetCore.network.ensemble import Ensemble
from DinoUNetCore.weights.bundle_files import CONFIG
from DinoUNetCore.weights.dinov3 import BACKBONE_FILE, fill_buffers, named_backbone
from DinoUNetCore.weights.placement import RESERVE, choose_placement, place_backbone, size_in
from DinoUNetCore.weights.tensors import assign_tensor

if TYPE_CHECKING:
    from DinoUNetCore.weights.bundle import ModelBundle


def build_network(
    bundle: "ModelBundle",
    device: torch.device,
    dtype: torch.dtype | None,
    backbone: str | os.PathLike | None,
    progress: Callable[[int, int], None] | None,
    say: Callable[[str], None] | None,
) -> DinoUNet | Ensemble:
    """See `ModelBundle.build_network`."""
    record = bundle.config["backbone"]
    with torch.device("meta"):
        network = _without_weights(bundle)
    first = network.backbones[0]  # each is as large
    rest = sum(tensor.nbytes for tensor in network.state_dict().values()) - size_in(first, torch.float32)
    placement = choose_placement(first, device, dtype, reserve=RESERVE + rest, may_stream=not bundle.stores_backbone)
    if placement.note and say:
        say(placement.note)
    weights = None
    if not bundle.stores_backbone:
        weights = named_backbone(
            backbone or bundle.backbone_file, bundle.variant.timm_model, record["sha256"], progress
        )
    _fill(network, bundle, device, placement.dtype)
    for one in network.backbones:
        if weights is None:
            fill_buffers(one, None, device)
        else:
            place_backbone(one, weights, device, placement)
            _check_backbone(one, bundle, weights.origin)
        if record.get("rope_periods") is not None:
            one.rope_periods = torch.tensor(record["rope_periods"])
    return network.requires_grad_(False).eval()


def _without_weights(bundle: "ModelBundle") -> DinoUNet | Ensemble:
    members = [
        DinoUNet(bundle.variant, bundle.in_channels, bundle.num_classes, train_backbone=False)
        for _ in range(bundle.members or 1)
    ]
    return Ensemble(members, bundle.shares_backbone) if bundle.members else members[0]


def _fill(network: DinoUNet | Ensemble, bundle: "ModelBundle", device: torch.device, dtype: torch.dtype) -> None:
    """Put the bundle's tensors into a network that has none yet."""
    expected = {
        name: tensor
        for name, tensor in network.state_dict().items()
        if bundle.stores_backbone or not name.startswith("backbone.")
    }
    if wrong := sorted(expected.keys() ^ set(bundle.tensors)):
        raise UserError(
            f"{bundle.source} is damaged: {len(wrong)} tensors are missing or unknown, such as {wrong[0]}; "
            "get the bundle again."
        )
    matrices = network.matrices()
    for name, place in expected.items():
        tensor = bundle.tensors[name]
        if tensor.shape != place.shape:
            raise UserError(f"{bundle.source} is damaged: its tensors do not fit its {CONFIG}; get it again.")
        assign_tensor(network, name, tensor.to(device, dtype if name in matrices else place.dtype))


def _check_backbone(backbone: Backbone, bundle: "ModelBundle", origin: str) -> None:
    if backbone.loaded_sha256 != bundle.config["backbone"]["sha256"]:
        raise UserError(
            f"{origin} does not hold the backbone weights that {bundle.source} was trained with (the SHA-256 "
            f"differs); name the file that does by --backbone FILE or {BACKBONE_FILE}."
        )
