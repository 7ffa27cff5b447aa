"""Fidelity-aware projection module (FAPM): from the backbone's width to the decoder's, by low-rank projection."""

from torch import Tensor, nn

LEAK = 0.01
"""Negative slope of every LeakyReLU in FAPM and decoder."""


class DepthwiseSeparableConv(nn.Module):
    """Depthwise 3x3, pointwise 1x1, InstanceNorm, LeakyReLU."""

    def __init__(self, channels: int):
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.pointwise = nn.Conv2d(channels, channels, 1)
        self.bn = nn.InstanceNorm2d(channels, affine=True)  # the authors' name, kept for their checkpoints
        self.act = nn.LeakyReLU(LEAK, inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.pointwise(self.depthwise(x))))


class SqueezeExcitation(nn.Module):
    """Weights channels by a gate computed from their means (arXiv 1709.01507), reduction 16."""

    def __init__(self, channels: int):
        super().__init__()
        hidden = max(1, channels // 16)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Sequential(
            nn.Conv2d(channels, hidden, 1), nn.ReLU(inplace=True), nn.Conv2d(hidden, channels, 1), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.fc(self.pool(x))


class FAPM(nn.Module):
    """Projects four maps of width `dim` to `features` channels.

    A basis shared by the scales and one of each scale span a space of `rank` dimensions; the shared part modulates
    the specific one (FiLM), and a refinement block with a shortcut leads to the decoder's width.

    Reference: Dino U-Net, section on the fidelity-aware projection; FiLM: arXiv 1709.07871.
    """

    def __init__(self, dim: int, features: tuple[int, ...], rank: int = 256):
        super().__init__()
        self.shared_basis = nn.Conv2d(dim, rank, 1)
        self.specific_bases = nn.ModuleList(nn.Conv2d(dim, rank, 1) for _ in features)
        self.film_generators = nn.ModuleList(nn.Conv2d(rank, 2 * rank, 1) for _ in features)
        self.refinement_blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(rank, channels, 1),
                nn.InstanceNorm2d(channels, affine=True),
                nn.LeakyReLU(LEAK, inplace=True),
                DepthwiseSeparableConv(channels),
                nn.Conv2d(channels, channels, 1),
                SqueezeExcitation(channels),
            )
            for channels in features
        )
        self.shortcut_projections = nn.ModuleList(
            nn.Identity() if channels == rank else nn.Conv2d(rank, channels, 1) for channels in features
        )

    def forward(self, pyramid: list[Tensor]) -> list[Tensor]:
        """pyramid: maps (B, dim, h_i, w_i) -> maps (B, features[i], h_i, w_i)."""
        return [self._project(level, scale) for scale, level in enumerate(pyramid)]

    def _project(self, x: Tensor, scale: int) -> Tensor:
        gamma, beta = self.film_generators[scale](self.shared_basis(x)).chunk(2, dim=1)
        z = gamma * self.specific_bases[scale](x) + beta
        return self.refinement_blocks[scale](z) + self.shortcut_projections[scale](z)
