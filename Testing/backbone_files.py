"""Backbone weights as the public files hold them, made from a backbone of ours."""

import torch
from torch import Tensor

from DinoUNetCore.network.backbone import Backbone


def metas_form(backbone: Backbone, periods: Tensor) -> dict[str, Tensor]:
    """The state dict under Meta's names, as in their .pth files."""
    state, vit = {}, backbone.vit.state_dict()
    for name, tensor in vit.items():
        if name.endswith("q_bias"):
            prefix = name.removesuffix("q_bias")
            v = vit[prefix + "v_bias"]
            state[prefix + "qkv.bias"] = torch.cat([tensor, torch.full_like(v, float("nan")), v])
            state[prefix + "qkv.bias_mask"] = torch.ones(3 * len(v))
        elif not name.endswith("v_bias"):
            for ours, theirs in (*_META, *(_GATED_META if backbone.config.swiglu_align else ())):
                name = name.replace(ours, theirs)
            state[name] = tensor
    return state | {"rope_embed.periods": periods, "mask_token": torch.zeros(1, backbone.config.dim)}


def transformers_form(backbone: Backbone) -> dict[str, Tensor]:
    """The state dict under the names of transformers' DINOv3ViTModel, as in its safetensors files."""
    state = {"embeddings.mask_token": torch.zeros(1, 1, backbone.config.dim)}
    for name, tensor in backbone.vit.state_dict().items():
        gated = backbone.config.swiglu_align is not None
        for ours, theirs in (*_TRANSFORMERS, *(_GATED_TRANSFORMERS if gated else _PLAIN_TRANSFORMERS)):
            name = name.replace(ours, theirs)
        if name.endswith("attn.qkv.weight"):
            for part, rows in zip("qkv", tensor.chunk(3), strict=True):
                state[name.replace("attn.qkv", f"attention.{part}_proj")] = rows.contiguous()
        else:
            state[name] = tensor
    return state


_META = (
    ("reg_token", "storage_tokens"),
    ("gamma_1", "ls1.gamma"),
    ("gamma_2", "ls2.gamma"),
)
_GATED_META = (("mlp.fc1_g", "mlp.w1"), ("mlp.fc1_x", "mlp.w2"), ("mlp.fc2", "mlp.w3"))
_TRANSFORMERS = (
    ("cls_token", "embeddings.cls_token"),
    ("reg_token", "embeddings.register_tokens"),
    ("patch_embed.proj", "embeddings.patch_embeddings"),
    ("blocks.", "layer."),
    ("attn.proj", "attention.o_proj"),
    ("attn.q_bias", "attention.q_proj.bias"),
    ("attn.v_bias", "attention.v_proj.bias"),
    ("gamma_1", "layer_scale1.lambda1"),
    ("gamma_2", "layer_scale2.lambda1"),
)
_GATED_TRANSFORMERS = (("mlp.fc1_g", "mlp.gate_proj"), ("mlp.fc1_x", "mlp.up_proj"), ("mlp.fc2", "mlp.down_proj"))
_PLAIN_TRANSFORMERS = (("mlp.fc1", "mlp.up_proj"), ("mlp.fc2", "mlp.down_proj"))
