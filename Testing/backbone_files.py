"""Backbone weights as the public files hold them, made from a backbone of ours."""

import torch
from torch import Tensor

from DinoUNetCore.network.backbone import Backbone


def metas_form(backbone: Backbone, periods: Tensor) -> dict[str, Tensor]:
    """The state dict under Meta's names, as in their .pth files."""
    state = {}
    for name, tensor in backbone.vit.state_dict().items():
        if name.endswith("q_bias"):
            prefix = name.removesuffix("q_bias")
            v = backbone.vit.state_dict()[prefix + "v_bias"]
            state[prefix + "qkv.bias"] = torch.cat([tensor, torch.full_like(v, float("nan")), v])
            state[prefix + "qkv.bias_mask"] = torch.ones(3 * len(v))
        elif not name.endswith("v_bias"):
            name = name.replace("reg_token", "storage_tokens")
            state[name.replace("gamma_1", "ls1.gamma").replace("gamma_2", "ls2.gamma")] = tensor
    return state | {"rope_embed.periods": periods, "mask_token": torch.zeros(1, backbone.config.dim)}
