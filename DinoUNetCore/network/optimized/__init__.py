"""Networks for inference alone: the same function in fewer and faster steps.

`optimize` rewrites a trained network exactly. BatchNorms, level embeddings and neighbouring linear maps become one
layer each, all maps lie with their channels last so that nothing is permuted, and matrices may be kept in a short type.
The outputs are those of the plain network but for rounding.
"""

import torch
from torch import nn

from DinoUNetCore.network.backbone import Backbone
from DinoUNetCore.network.dino_unet import DinoUNet
from DinoUNetCore.network.ensemble import Ensemble
from DinoUNetCore.network.optimized.adapter import OptimizedAdapter
from DinoUNetCore.network.optimized.backbone import OptimizedBackbone
from DinoUNetCore.network.optimized.decoder import OptimizedDecoder
from DinoUNetCore.network.optimized.fapm import OptimizedFAPM


def optimize(network: DinoUNet | Ensemble, dtype: torch.dtype | None = None) -> DinoUNet | Ensemble:
    """The network, rewritten in place: it can no longer be trained or saved.

    dtype: in which matrices are kept and multiplied; None: the network's own. It needs no autocast.
    """
    dtype = dtype or network.dtype
    network.wants_autocast = False
    with torch.no_grad():
        if isinstance(network, Ensemble):
            for member in network.members:
                _rewrite(member, dtype)
            if network.backbone is not None:
                network.backbone = _optimized_backbone(network.backbone, dtype)
        else:
            _rewrite(network, dtype)
    return network.requires_grad_(False).eval()


def _rewrite(network: DinoUNet, dtype: torch.dtype) -> None:
    for part in (network.adapter, network.fapm, network.ups, network.decoder):
        part.float()  # layers are put together before they are shortened
    if network.backbone is not None:
        network.backbone = _optimized_backbone(network.backbone, dtype)
    network.fapm = OptimizedFAPM(network.fapm, network.adapter, dtype)
    network.adapter = OptimizedAdapter(network.adapter, dtype)
    network.decoder = OptimizedDecoder(network.decoder, network.ups, dtype)
    network.ups = nn.Identity()  # the decoder does it


def _optimized_backbone(backbone: Backbone, dtype: torch.dtype) -> nn.Module:
    """One whose blocks come from elsewhere in every pass stays as it is."""
    if any(parameter.is_meta for parameter in backbone.parameters()):
        return backbone
    return OptimizedBackbone(backbone, dtype)
