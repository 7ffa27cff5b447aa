"""State dicts of the authors' code (yifangao112/DinoUNet), read into our network."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from DinoUNetCore.errors import UserError
from DinoUNetCore.network.backbone import ViTConfig
from DinoUNetCore.network.dino_unet import DinoUNet
from DinoUNetCore.network.variants import VARIANTS, Variant
from DinoUNetCore.weights.forms import find_form

_ADAPTER = "encoder.dinov3_adapter."
_BACKBONE = _ADAPTER + "backbone."
_WRAPPERS = re.compile(r"^((module|_orig_mod)\.)+")  # of DistributedDataParallel and torch.compile
_ALIASES = re.compile(r"^decoder\.encoder\.|\.all_modules\.")  # the same storage again
_RENAMES = ((_ADAPTER, "adapter."), ("encoder.", ""))


@dataclass(frozen=True)
class OfficialWeights:
    """Weights of the authors' network under the names of ours.

    tensors: by the names of `DinoUNet.state_dict`; they share the storage of the state dict, except for some biases.
    rope_periods: of the backbone.
    """

    variant: Variant
    num_classes: int
    tensors: dict[str, Tensor]
    rope_periods: Tensor

    @classmethod
    def read(cls, state_dict: Mapping[str, Tensor], taps: tuple[int, ...] | None = None) -> "OfficialWeights":
        """Arguments and UserErrors: see `load_official_state_dict`."""
        state = {_WRAPPERS.sub("", name): tensor for name, tensor in state_dict.items()}
        state = {name: tensor for name, tensor in state.items() if not _ALIASES.search(name)}
        try:
            variant = _read_variant(state, taps)
            classes = len(state["decoder.seg_layers.2.weight"])
        except KeyError as error:
            raise UserError(f"the checkpoint is not one of Dino U-Net's authors: it has no tensor {error}.") from None
        except (IndexError, TypeError, ValueError, ZeroDivisionError) as error:  # shapes that no such network has
            raise UserError(f"the checkpoint is not one of Dino U-Net's authors ({error}).") from None
        tensors = {_our_name(name): t for name, t in state.items() if not name.startswith(_BACKBONE)}
        form = find_form(name for name in state if name.startswith(_BACKBONE))
        for name, recipe in form.recipes.items() if form else ():
            tensors[f"backbone.vit.{name}"] = recipe.make(*(state[source] for source in recipe.sources))
        weights = cls(variant, classes, tensors, state[_BACKBONE + "rope_embed.periods"])
        _check_tensors(tensors, weights.empty_network().state_dict())
        return weights

    def empty_network(self, in_channels: int = 3) -> DinoUNet:
        """A network of these sizes on the meta device, which takes no memory."""
        with torch.device("meta"):
            return DinoUNet(self.variant, in_channels, self.num_classes, train_backbone=False)

    def mapped_network(self, in_channels: int) -> DinoUNet:
        """The network for so many channels, made of `tensors` themselves: nothing is copied, so files stay mapped.

        More than three channels: the first three are used, as the authors' network does without saying so. It is there
        to be stored, not to be run: what is computed and not stored (the backbone's key biases) stays on meta.
        """
        network = self.empty_network(in_channels)
        tensors = dict(self.tensors)
        if network.channel_projection is not None:
            tensors["channel_projection.weight"] = torch.eye(3, in_channels)[:, :, None, None]
        network.load_state_dict(tensors, assign=True)
        network.backbone.rope_periods = self.rope_periods
        return network.requires_grad_(False).eval()


def load_official_state_dict(state_dict: Mapping[str, Tensor], taps: tuple[int, ...] | None = None) -> DinoUNet:
    """Build the network that a state dict of the authors' code describes, and load it.

    Args:
        state_dict: what their checkpoint holds under `network_weights`. Every size is read from the tensors.
        taps: the backbone blocks whose output is used; by default those of the variant with the same backbone.

    Returns a DinoUNet in eval mode with three input channels, of which one or two may be given as well
    (a -> a,a,a; a,b -> a,b,a), as in their code.

    Raises UserError when tensors are missing or the sizes fit no variant and `taps` is not given.
    """
    weights = OfficialWeights.read(state_dict, taps)
    network = AnyChannels(weights.variant, 3, weights.num_classes, train_backbone=False)
    network.load_state_dict(weights.tensors)
    network.backbone.rope_periods = weights.rope_periods
    return network.eval()


class AnyChannels(DinoUNet):
    """A three-channel DinoUNet that takes one or two channels as well, which the authors' network decides per call."""

    def _three_channels(self, x: Tensor) -> Tensor:
        if x.ndim == 4 and x.shape[1] == 1:
            x = x[:, [0, 0, 0]]
        elif x.ndim == 4 and x.shape[1] == 2:
            x = x[:, [0, 1, 0]]
        return super()._three_channels(x)


def _check_tensors(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    missing, unknown = sorted(set(expected) - set(tensors)), sorted(set(tensors) - set(expected))
    if missing or unknown:
        raise UserError(
            f"the checkpoint does not fit Dino U-Net: {len(missing)} tensors are missing ({', '.join(missing[:3])}) "
            f"and {len(unknown)} are unknown ({', '.join(unknown[:3])})."
        )
    for name, tensor in tensors.items():
        both_single = tensor.numel() == expected[name].numel() == 1  # torch takes (1,) for ()
        if tensor.shape != expected[name].shape and not both_single:
            raise UserError(
                f"the checkpoint does not fit Dino U-Net: {name} is {tuple(tensor.shape)} and should be "
                f"{tuple(expected[name].shape)}."
            )


def _our_name(name: str) -> str:
    for theirs, ours in _RENAMES:
        if name.startswith(theirs):
            name = ours + name.removeprefix(theirs)
            break
    return re.sub(r"^ups\.(\d)\.up2\.", r"ups.\1.", name)


def _read_variant(state: Mapping[str, Tensor], taps: tuple[int, ...] | None) -> Variant:
    vit = _read_vit(state)
    known = next((variant for variant in VARIANTS.values() if _sizes(variant.vit) == _sizes(vit)), None)
    if taps is None:
        if known is None:
            raise UserError(f"no variant has a backbone of width {vit.dim} and depth {vit.depth}; name its taps.")
        taps = known.taps
    stages = [len(state[f"decoder.transpconvs.{i}.weight"]) for i in range(3)]
    finest = state["decoder.transpconvs.2.weight"].shape[1]
    return Variant(
        vit=vit,
        taps=tuple(taps),
        timm_model=known.timm_model if known else None,
        spm_width=len(state[_ADAPTER + "spm.stem.0.weight"]),
        attention_heads=len(state[_ADAPTER + "interactions.0.extractor.attn.attention_weights.weight"]) // 4,
        fapm_rank=len(state["encoder.fapm.shared_basis.weight"]),
        features=(finest, *stages[::-1]),
    )


def _read_vit(state: Mapping[str, Tensor]) -> ViTConfig:
    block = re.compile(re.escape(_BACKBONE) + r"blocks\.(\d+)\.")
    dim = len(state[_BACKBONE + "patch_embed.proj.weight"])
    depth = 1 + max((int(match[1]) for name in state if (match := block.match(name))), default=-1)
    heads = dim // (4 * len(state[_BACKBONE + "rope_embed.periods"]))
    swiglu = _BACKBONE + "blocks.0.mlp.w1.weight" in state
    hidden = len(state[_BACKBONE + f"blocks.0.mlp.{'w1' if swiglu else 'fc1'}.weight"])
    qkv_bias = _BACKBONE + "blocks.0.attn.qkv.bias" in state
    return ViTConfig(dim, depth, heads, hidden / dim, swiglu_align=1 if swiglu else None, qkv_bias=qkv_bias)


def _sizes(vit: ViTConfig) -> tuple[int, int, int, bool]:
    return vit.dim, vit.depth, vit.heads, vit.swiglu_align is None
