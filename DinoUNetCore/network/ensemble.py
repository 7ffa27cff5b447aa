"""Several Dino U-Nets as one network: the mean of their logits, as nnU-Net's ensembles of folds."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from DinoUNetCore.network.backbone import Backbone
from DinoUNetCore.network.dino_unet import DinoUNet, matrices_of
from DinoUNetCore.network.variants import Variant


class Ensemble(nn.Module):
    """The mean of the logits of K networks, with the features and the head that a `DinoUNet` has.

    Its features are those of all members side by side, and its head is one 1x1 convolution over them, so that averaging
    or resampling the features still equals doing it to the logits.

    Args:
        members: networks of one variant with as many input channels and outputs. They become parts of the ensemble.
        shares_backbone: whether the members have the same backbone. The first one's is kept as `backbone`, the others'
            are let go of, and it runs once per batch for all members: `state_dict` has it once.
    """

    wants_autocast = True
    """As `DinoUNet.wants_autocast`."""

    def __init__(self, members: Sequence[DinoUNet], shares_backbone: bool):
        super().__init__()
        if not members or len({(one.variant, one.in_channels, one.num_classes) for one in members}) > 1:
            raise ValueError("an ensemble needs members of one variant with the same input channels and outputs")
        first = members[0]
        self.variant: Variant = first.variant
        self.in_channels, self.num_classes = first.in_channels, first.num_classes
        self.backbone = first.backbone if shares_backbone else None
        self.members = nn.ModuleList(members)
        if shares_backbone:
            for member in members:
                member.backbone = None

    @property
    def backbones(self) -> list[Backbone]:
        """The shared one, or one per member."""
        return [self.backbone] if self.backbone is not None else [member.backbone for member in self.members]

    @property
    def dtype(self) -> torch.dtype:
        """As `DinoUNet.dtype`."""
        return self.backbones[0].dtype

    def matrices(self) -> set[str]:
        """As `DinoUNet.matrices`."""
        return matrices_of(self)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, in_channels, H, W), normalised; any H and W -> the mean of the logits (B, num_classes, H, W)."""
        return self.head(self.features(x))

    def features(self, x: Tensor) -> Tensor:
        """x: (B, in_channels, H, W) -> (B, K * features[0], H, W)."""
        if self.backbone is None:
            return torch.cat([member.features(x) for member in self.members], dim=1)
        features, taps = [], None
        for member in self.members:
            image, window = member.prepare(x)
            if taps is None or member.channel_projection is not None:  # else all members see the same image
                taps = self.backbone(image)
            features.append(member.decode(image, taps)[(..., *window)])
        return torch.cat(features, dim=1)

    def head(self, features: Tensor) -> Tensor:
        """features: (B, K * features[0], h, w) -> the mean of the logits (B, num_classes, h, w)."""
        heads = [member.decoder.head for member in self.members]
        weight = torch.cat([head.weight for head in heads], dim=1) / len(heads)
        return F.conv2d(features, weight, torch.stack([head.bias for head in heads]).mean(dim=0))
