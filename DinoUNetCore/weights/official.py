"""Checkpoints of the authors' code (yifangao112/DinoUNet), read into our network."""

import re
from collections.abc import Mapping

from timm.models.eva import checkpoint_filter_fn
from torch import Tensor

from DinoUNetCore.errors import UserError
from DinoUNetCore.network.backbone import ViTConfig
from DinoUNetCore.network.dino_unet import DinoUNet
from DinoUNetCore.network.variants import VARIANTS, Variant

_BACKBONE = "encoder.dinov3_adapter.backbone."
_ALIASES = re.compile(r"^decoder\.encoder\.|\.all_modules\.")
_RENAMES = (("encoder.dinov3_adapter.", "adapter."), ("encoder.", ""))


def load_official_state_dict(state_dict: Mapping[str, Tensor], taps: tuple[int, ...] | None = None) -> DinoUNet:
    """Build the network that a state dict of the authors' code describes, and load it.

    Args:
        state_dict: what their checkpoint holds under `network_weights`. Every size is read from the tensors.
        taps: the backbone blocks whose output is used; by default those of the variant with the same backbone.

    Returns a DinoUNet in eval mode with three input channels, of which one or two may be given as well
    (a -> a,a,a; a,b -> a,b,a), as in their code.

    Raises UserError when tensors are missing or the sizes fit no variant and `taps` is not given.
    """
    state = {name: tensor for name, tensor in state_dict.items() if not _ALIASES.search(name)}
    try:
        variant = _read_variant(state, taps)
        classes = len(state["decoder.seg_layers.2.weight"])
    except KeyError as error:
        raise UserError(f"the checkpoint is not one of Dino U-Net's authors: it has no tensor {error}.") from None
    network = AnyChannels(variant, in_channels=3, num_classes=classes)

    backbone = {name.removeprefix(_BACKBONE): t for name, t in state.items() if name.startswith(_BACKBONE)}
    periods = backbone["rope_embed.periods"]
    loaded = {f"backbone.vit.{name}": t for name, t in checkpoint_filter_fn(backbone, network.backbone.vit).items()}
    for name, tensor in state.items():
        if not name.startswith(_BACKBONE):
            loaded[_our_name(name)] = tensor
    missing, unexpected = network.load_state_dict(loaded, strict=False)
    if missing or unexpected:
        raise UserError(
            f"the checkpoint does not fit Dino U-Net: {len(missing)} tensors are missing ({', '.join(missing[:3])}) "
            f"and {len(unexpected)} are unknown ({', '.join(unexpected[:3])})."
        )
    network.backbone.rope_periods = periods
    return network.eval()


class AnyChannels(DinoUNet):
    """A three-channel DinoUNet that takes one or two channels as well, which the authors' network decides per call."""

    def _three_channels(self, x: Tensor) -> Tensor:
        if x.ndim == 4 and x.shape[1] == 1:
            x = x[:, [0, 0, 0]]
        elif x.ndim == 4 and x.shape[1] == 2:
            x = x[:, [0, 1, 0]]
        return super()._three_channels(x)


def _our_name(name: str) -> str:
    for theirs, ours in _RENAMES:
        if name.startswith(theirs):
            name = ours + name.removeprefix(theirs)
            break
    return re.sub(r"^ups\.(\d)\.up2\.", r"ups.\1.", name)


def _read_variant(state: Mapping[str, Tensor], taps: tuple[int, ...] | None) -> Variant:
    backbone, adapter = _BACKBONE, "encoder.dinov3_adapter."
    dim = state[backbone + "patch_embed.proj.weight"].shape[0]
    depth = 1 + max(int(m[1]) for name in state if (m := re.match(re.escape(backbone) + r"blocks\.(\d+)\.", name)))
    heads = dim // (4 * len(state[backbone + "rope_embed.periods"]))
    swiglu = backbone + "blocks.0.mlp.w1.weight" in state
    hidden = len(state[backbone + f"blocks.0.mlp.{'w1' if swiglu else 'fc1'}.weight"])
    qkv_bias = backbone + "blocks.0.attn.qkv.bias" in state
    vit = ViTConfig(dim, depth, heads, hidden / dim, swiglu_align=1 if swiglu else None, qkv_bias=qkv_bias)
    if taps is None:
        same = [v for v in VARIANTS.values() if (v.vit.dim, v.vit.depth, v.vit.heads) == (dim, depth, heads)]
        if not same:
            raise UserError(f"no variant has a backbone of width {dim} and depth {depth}; name its taps.")
        taps = same[0].taps
    stages = [len(state[f"decoder.transpconvs.{i}.weight"]) for i in range(3)]
    finest = state["decoder.transpconvs.2.weight"].shape[1]
    return Variant(
        vit=vit,
        taps=tuple(taps),
        timm_model="",  # the checkpoint brings the backbone, which its authors kept frozen
        spm_width=len(state[adapter + "spm.stem.0.weight"]),
        attention_heads=len(state[adapter + "interactions.0.extractor.attn.attention_weights.weight"]) // 4,
        fapm_rank=len(state["encoder.fapm.shared_basis.weight"]),
        features=(finest, *stages[::-1]),
    )
