"""Dino U-Net: the boxes of the paper's figure put together."""

from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from DinoUNetCore.network.adapter import Adapter
from DinoUNetCore.network.backbone import Backbone
from DinoUNetCore.network.decoder import Decoder
from DinoUNetCore.network.fapm import FAPM
from DinoUNetCore.network.variants import VARIANTS, Variant

MULTIPLE = 32
"""Height and width are padded to a multiple of this inside the network."""
SMALLEST = 64
"""... and to at least this, because an InstanceNorm over a 1x1 map is undefined."""


class DinoUNet(nn.Module):
    """Dino U-Net (arXiv 2508.20909): frozen DINOv3 backbone, adapter, FAPM, U-Net decoder.

    Args:
        variant: a name of `VARIANTS`, or a `Variant` of your own.
        in_channels: channels of the input. One to three are mapped to the backbone's three without parameters
            (a -> a,a,a; a,b -> a,b,a), as the authors do; four and more by a learned 1x1 projection.
        num_classes: outputs, at least 1: classes with the background, or regions.
        train_backbone: None trains the backbone only where no public weights exist (tiny).
        backbone_device: "meta" makes a backbone without weights, which are to be loaded.

    The parameters are random. Public backbone weights are loaded by `DinoUNetCore.weights.dinov3`.
    """

    wants_autocast = True
    """Whether `features` is to run under autocast where matrices are to be multiplied in a short type."""

    def __init__(
        self,
        variant: str | Variant = "small",
        in_channels: int = 1,
        num_classes: int = 2,
        train_backbone: bool | None = None,
        backbone_device: str | None = None,
    ):
        super().__init__()
        if isinstance(variant, str):
            if variant not in VARIANTS:
                raise ValueError(f"unknown variant {variant!r}; choose from {', '.join(VARIANTS)}")
            variant = VARIANTS[variant]
        if in_channels < 1 or num_classes < 1:
            raise ValueError(f"need at least 1 input channel and 1 output, not {in_channels} and {num_classes}")
        if train_backbone is None:
            train_backbone = variant.timm_model is None
        dim = variant.vit.dim
        self.variant = variant
        self.in_channels = in_channels
        self.num_classes = num_classes
        self.channel_projection = _channel_projection(in_channels) if in_channels > 3 else None
        with torch.device(backbone_device) if backbone_device else nullcontext():
            self.backbone = Backbone(variant.vit, variant.taps, trainable=train_backbone)
        self.adapter = Adapter(
            dim, width=variant.spm_width, heads=variant.attention_heads, drop_path=variant.drop_path
        )
        self.fapm = FAPM(dim, variant.features, variant.fapm_rank)
        self.ups = Upsampling(nn.ConvTranspose2d(c, c, 2, stride=2) for c in variant.features)
        self.decoder = Decoder(variant.features, num_classes)

    @property
    def backbones(self) -> list[Backbone]:
        """All that it has: one."""
        return [self.backbone]

    @property
    def dtype(self) -> torch.dtype:
        """In which matrices are to be multiplied."""
        return self.backbone.dtype

    def matrices(self) -> set[str]:
        """Names of the parameters that autocast shortens, and which may be kept short therefore: the weights of
        convolutions and linear maps, but for the head, which is applied to averaged features in float32.
        """
        return matrices_of(self)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, in_channels, H, W), normalised; any H and W -> logits (B, num_classes, H, W)."""
        return self.head(self.features(x))

    def features(self, x: Tensor) -> Tensor:
        """x: (B, in_channels, H, W) -> (B, features[0], H, W), what the head sees. The head is linear and 1x1, so
        averaging or resampling these features equals doing it to the logits.
        """
        image, window = self.prepare(x)
        return self.decode(image, self.backbone(image))[(..., *window)]

    def prepare(self, x: Tensor) -> tuple[Tensor, tuple[slice, slice]]:
        """x: (B, in_channels, H, W) -> (B, 3, H', W'), padded, for the backbone, and where the image lies in it."""
        height, width = x.shape[2:]
        image, top, left = _pad(self._three_channels(x))
        return image, (slice(top, top + height), slice(left, left + width))

    def decode(self, image: Tensor, taps: list[Tensor]) -> Tensor:
        """image: (B, 3, H', W'); taps: what the backbone makes of it, 4 x (B, dim, H'/16, W'/16)
        -> (B, features[0], H', W').
        """
        pyramid = self.adapter(image, taps)  # (B, dim, ...) at 1/4, 1/8, 1/16, 1/32
        projected = self.fapm(pyramid)  # (B, features[i], ...) at the same sizes
        return self.decoder(self.ups(projected))

    def head(self, features: Tensor) -> Tensor:
        """features: (B, features[0], h, w) -> logits (B, num_classes, h, w)."""
        return self.decoder.head(features)

    def _three_channels(self, x: Tensor) -> Tensor:
        if x.ndim != 4 or x.shape[1] != self.in_channels:
            raise ValueError(f"expected (B, {self.in_channels}, H, W), got {tuple(x.shape)}")
        if self.channel_projection is not None:
            return self.channel_projection(x)
        if self.in_channels == 3:
            return x
        return x[:, [0, 0, 0]] if self.in_channels == 1 else x[:, [0, 1, 0]]


class Upsampling(nn.ModuleList):
    """One transposed convolution per scale, applied twice."""

    def forward(self, projected: list[Tensor]) -> list[Tensor]:
        """Maps at 1/4, 1/8, 1/16, 1/32 -> the decoder's skip connections at 1, 1/2, 1/4, 1/8."""
        return [up(up(level)) for up, level in zip(self, projected, strict=True)]


def matrices_of(network: nn.Module) -> set[str]:
    """See `DinoUNet.matrices`; of any network made of Dino U-Nets."""
    kinds = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
    layers = {name for name, module in network.named_modules() if isinstance(module, kinds)}
    return {f"{name}.weight" for name in layers if "decoder.seg_layers." not in name}


def _channel_projection(channels: int) -> nn.Conv2d:
    """1x1 convolution to three channels; at the start, output j is the mean of the inputs j, j + 3, j + 6, ..."""
    projection = nn.Conv2d(channels, 3, 1, bias=False)
    with torch.no_grad():
        projection.weight.zero_()
        for output in range(3):
            members = list(range(output, channels, 3))
            projection.weight[output, members] = 1.0 / len(members)
    return projection


def _pad(x: Tensor) -> tuple[Tensor, int, int]:
    """Repeat the border on all sides until both lengths are multiples of 32 and at least 64.

    Returns the padded image and how many rows and columns were added before the first. The image lies in the middle,
    as a slice that is smaller than a training patch does in training.
    """
    padding = []
    for length in x.shape[:1:-1]:  # columns, then rows: the order that F.pad takes
        target = max(SMALLEST, -(-length // MULTIPLE) * MULTIPLE)
        before = target // 2 - length // 2
        padding += [before, target - length - before]
    if not any(padding):
        return x, 0, 0
    return F.pad(x, padding, mode="replicate"), padding[2], padding[0]
