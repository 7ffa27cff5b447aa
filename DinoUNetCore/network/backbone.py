"""The backbone: a DINOv3 vision transformer (timm's implementation) of which only patch features are used."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from timm.layers import LayerNorm
from timm.models.eva import Eva
from torch import Tensor, nn

PATCH = 16
"""Side of a DINOv3 patch in pixels."""
ROPE_BASE = 100.0
"""Base of the periods of the rotary position embedding."""


@dataclass(frozen=True)
class ViTConfig:
    """Sizes of a DINOv3 ViT. The defaults shared by all of them stand in `Backbone`.

    `swiglu_align` is None for a GELU feed-forward of `mlp_ratio` x `dim`; otherwise the feed-forward is a SwiGLU
    whose hidden size is rounded up to that multiple. `qkv_bias` has no key part (it is masked in DINOv3).
    """

    dim: int
    depth: int
    heads: int
    mlp_ratio: float = 4.0
    swiglu_align: int | None = None
    qkv_bias: bool = True


class Backbone(nn.Module):
    """A DINOv3 ViT that returns the patch tokens after the blocks `taps`, each through the shared final LayerNorm.

    Frozen unless `trainable`: then no parameter takes a gradient, no activation is kept, and the module stays in eval
    mode whatever `train()` is called on it or on a network that holds it (in train mode a DINOv3 backbone may switch
    on random RoPE rescaling and stochastic depth).

    Reference: DINOv3, arXiv 2508.10104; Dino U-Net, section on the frozen encoder.
    """

    def __init__(self, config: ViTConfig, taps: tuple[int, ...], trainable: bool = False):
        super().__init__()
        self.config = config
        self.taps = tuple(taps)
        self.trainable = trainable
        self.loaded_sha256: str | None = None  # of the public weights that were loaded,
        self.loaded_licenses: dict[str, str] = {}  # and the texts of their licences by file name
        self.loaded_record: dict | None = None  # the entry "backbone" of a bundle that stores these weights
        # To be entered by all processes where some may make more passes than others; see `weights.sharding`.
        self.together: Callable[[], AbstractContextManager[None]] = nullcontext
        self.vit = Eva(
            patch_size=PATCH,
            dynamic_img_size=True,
            num_classes=0,
            embed_dim=config.dim,
            depth=config.depth,
            num_heads=config.heads,
            mlp_ratio=config.mlp_ratio,
            swiglu_mlp=config.swiglu_align is not None,
            swiglu_align_to=config.swiglu_align or 0,
            qkv_bias=config.qkv_bias,
            init_values=1e-5,
            num_reg_tokens=4,
            use_abs_pos_emb=False,
            use_rot_pos_emb=True,
            rope_type="dinov3",
            rope_temperature=ROPE_BASE,
            rope_rotate_half=True,
            use_fc_norm=False,
            norm_layer=partial(LayerNorm, eps=1e-5),
        )
        self.requires_grad_(trainable)
        self.train(self.training)

    def train(self, mode: bool = True) -> "Backbone":
        return super().train(mode and self.trainable)

    @property
    def dtype(self) -> torch.dtype:
        """Of the matrices; the other parameters are float32 always."""
        return self.vit.patch_embed.proj.weight.dtype

    def forward(self, x: Tensor) -> list[Tensor]:
        """x: (B, 3, H, W), H and W multiples of 16 -> one (B, dim, H/16, W/16) per tap."""
        short = self.dtype != torch.float32
        autocast = torch.autocast(x.device.type, self.dtype) if short else nullcontext()
        with torch.set_grad_enabled(self.trainable and torch.is_grad_enabled()), autocast:
            return self.vit.forward_intermediates(
                x, indices=list(self.taps), norm=True, output_fmt="NCHW", intermediates_only=True, stop_early=True
            )

    @property
    def rope_periods(self) -> Tensor:
        """The (dim / heads / 4,) periods of the rotary position embedding; timm stores none with its weights."""
        return self.vit.rope.periods

    @rope_periods.setter
    def rope_periods(self, periods: Tensor) -> None:
        current = self.vit.rope.periods
        if periods.shape != current.shape:
            raise ValueError(f"{periods.numel()} RoPE periods for a backbone that has {current.numel()}")
        device = periods.device if current.is_meta else current.device
        self.vit.rope.periods = periods.to(device=device, dtype=torch.float32)


def default_rope_periods(config: ViTConfig) -> Tensor:
    """The (dim / heads / 4,) periods of a DINOv3 backbone whose file has none, in float32 as timm computes them."""
    count = config.dim // config.heads // 4
    return ROPE_BASE ** (2.0 * torch.arange(count, dtype=torch.float32, device="cpu") / (2 * count))
