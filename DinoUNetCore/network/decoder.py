"""The decoder: a plain U-Net upward path with one 1x1 head per stage."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from DinoUNetCore.network.fapm import LEAK


class ConvBlock(nn.Module):
    """3x3 convolution, InstanceNorm, LeakyReLU."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm = nn.InstanceNorm2d(outputs, eps=1e-5, affine=True)
        self.act = nn.LeakyReLU(LEAK, inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.norm(self.conv(x)))


class Stage(nn.Module):
    """Two convolutions over the upsampled map and its skip connection."""

    def __init__(self, channels: int):
        super().__init__()
        self.convs = nn.Sequential(ConvBlock(2 * channels, channels), ConvBlock(channels, channels))

    def forward(self, upsampled: Tensor, skip: Tensor) -> Tensor:
        return self.convs(torch.cat((upsampled, skip), dim=1))


class Decoder(nn.Module):
    """U-Net decoder (arXiv 1505.04597, in nnU-Net's form) over skips with `features` channels, finest first.

    The heads of the coarser stages serve deep supervision only; a plain forward pass uses the last one.
    """

    def __init__(self, features: tuple[int, ...], num_classes: int):
        super().__init__()
        upward = features[::-1]
        self.transpconvs = nn.ModuleList(
            nn.ConvTranspose2d(below, channels, 2, stride=2)
            for below, channels in pairwise(upward)
        )
        self.stages = nn.ModuleList(Stage(channels) for channels in upward[1:])
        self.seg_layers = nn.ModuleList(nn.Conv2d(channels, num_classes, 1) for channels in upward[1:])

    @property
    def head(self) -> nn.Conv2d:
        """The 1x1 convolution from the finest features to class logits."""
        return self.seg_layers[-1]

    def forward(self, skips: list[Tensor]) -> Tensor:
        """skips: (B, features[i], H / 2**i, W / 2**i) -> (B, features[0], H, W), the features before the head."""
        x = skips[-1]
        for transpconv, stage, skip in zip(self.transpconvs, self.stages, skips[-2::-1], strict=True):
            x = stage(transpconv(x), skip)
        return x
