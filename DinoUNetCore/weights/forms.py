"""The three forms in which DINOv3 weights are published, and how each is turned into timm's names.

    timm          reg_token        blocks.0.attn.qkv.weight    blocks.0.gamma_1          blocks.0.mlp.fc1.weight
    Meta          storage_tokens   blocks.0.attn.qkv.weight    blocks.0.ls1.gamma        blocks.0.mlp.fc1.weight
    transformers  ...register_...  layer.0.attention.q_proj... layer.0.layer_scale1...   layer.0.mlp.up_proj.weight
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

_REGISTERS = {"storage_tokens": "Meta", "embeddings.register_tokens": "transformers", "reg_token": "timm"}
_HEADS = ("head.", "fc_norm.", "local_cls_norm.")  # of other uses: classifiers, and 7B's training on small crops
_PERIODS = "rope_embed.periods"

_META = (("storage_tokens", "reg_token"), (".ls1.gamma", ".gamma_1"), (".ls2.gamma", ".gamma_2"))
_TRANSFORMERS = (
    (r"^embeddings\.register_tokens$", "reg_token"),
    (r"^embeddings\.cls_token$", "cls_token"),
    (r"^embeddings\.patch_embeddings\.", "patch_embed.proj."),
    (r"^(model\.)?layer\.", "blocks."),
    (r"\.attention\.o_proj\.", ".attn.proj."),
    (r"\.layer_scale([12])\.lambda1$", r".gamma_\1"),
)
_GATED = ((".mlp.w1.", ".mlp.fc1_g."), (".mlp.w2.", ".mlp.fc1_x."), (".mlp.w3.", ".mlp.fc2."))
_GATED_TRANSFORMERS = (
    (".mlp.gate_proj.", ".mlp.fc1_g."),
    (".mlp.up_proj.", ".mlp.fc1_x."),
    (".mlp.down_proj.", ".mlp.fc2."),
)
_PLAIN_TRANSFORMERS = ((".mlp.up_proj.", ".mlp.fc1."), (".mlp.down_proj.", ".mlp.fc2."))


@dataclass(frozen=True)
class Recipe:
    """How one tensor under timm's name is made: `make` of the tensors `sources` of the file."""

    sources: tuple[str, ...]
    make: Callable[..., Tensor] = lambda tensor: tensor


@dataclass(frozen=True)
class Form:
    """Which form a file has. recipes: by timm's names. periods: the name of the file's RoPE periods, if it has them."""

    name: str
    recipes: dict[str, Recipe]
    periods: str | None = None


def find_form(names: Iterable[str]) -> Form | None:
    """The form of a file by the names of its tensors (which may share a prefix), or None if it is no DINOv3 model."""
    names = list(names)
    for register, form in _REGISTERS.items():
        for name in names:
            if name == register or name.endswith(f".{register}"):
                prefix = name.removesuffix(register)
                inner = {name.removeprefix(prefix): name for name in names if name.startswith(prefix)}
                periods = inner.pop(_PERIODS, None)
                return Form(form, _CONVERSIONS[form](inner), periods)
    return None


def _from_timm(names: dict[str, str]) -> dict[str, Recipe]:
    return {name: Recipe((source,)) for name, source in names.items() if not name.startswith(_HEADS)}


def _from_meta(names: dict[str, str]) -> dict[str, Recipe]:
    recipes = {}
    for name, source in names.items():
        if name == "mask_token" or name.endswith(".bias_mask") or name.startswith(_HEADS):
            continue  # mask_token: of pretraining; bias_mask: takes away the keys' biases, which timm leaves out
        if name.endswith(".qkv.bias"):
            block = name.removesuffix("qkv.bias")
            recipes[f"{block}q_bias"] = Recipe((source,), lambda bias: bias.chunk(3)[0].clone())
            recipes[f"{block}v_bias"] = Recipe((source,), lambda bias: bias.chunk(3)[2].clone())
            continue
        for theirs, ours in (*_META, *_GATED):
            name = name.replace(theirs, ours)
        recipes[name] = Recipe((source,))
    return recipes


def _from_transformers(names: dict[str, str]) -> dict[str, Recipe]:
    gated = any(".gate_proj." in name for name in names)
    recipes = {}
    for name, source in names.items():
        if name == "embeddings.mask_token":
            continue
        for theirs, ours in _TRANSFORMERS:
            name = re.sub(theirs, ours, name)
        for theirs, ours in _GATED_TRANSFORMERS if gated else _PLAIN_TRANSFORMERS:
            name = name.replace(theirs, ours)
        if name.endswith(".attention.q_proj.weight"):
            keys_and_values = (source.replace(".q_proj.", f".{part}_proj.") for part in "kv")
            name = name.replace(".attention.q_proj.", ".attn.qkv.")
            recipes[name] = Recipe((source, *keys_and_values), lambda *parts: torch.cat(parts))
        elif not name.endswith((".k_proj.weight", ".v_proj.weight")):
            recipes[re.sub(r"\.attention\.([qv])_proj\.bias$", r".attn.\1_bias", name)] = Recipe((source,))
    return recipes


_CONVERSIONS = {"timm": _from_timm, "Meta": _from_meta, "transformers": _from_transformers}
