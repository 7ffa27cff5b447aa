"""The training loss: cross-entropy plus soft Dice, written as sums over pixels.

MONAI's losses cannot replace it: they have no ignored pixels beside a Dice over the whole batch, and no sums over
several processes, of which each sees a part of the batch only.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from DinoUNetCore.training.targets import counted, truth_of
from DinoUNetCore.volume.label_scheme import LabelScheme

SMOOTH = 1e-5  # the authors', nnU-Net's

Total = Callable[[Tensor], Tensor]


def identity(tensor: Tensor) -> Tensor:
    """The sum over all processes where there is only one."""
    return tensor


def make_loss(scheme: LabelScheme, total: Total = identity) -> nn.Module:
    """Loss of logits (B, outputs, H, W) and class indices (B, 1, H, W), a number.

    Classes: cross-entropy + 1 - mean Dice of all but the background. Regions: binary cross-entropy + 1 - mean Dice of
    all regions. Dice is taken over the whole batch. These are the authors' (nnU-Net's) losses plus 1, as they count
    -Dice. Ignored pixels count nowhere; a batch of nothing else has the loss 0.

    total: the differentiable sum of a tensor over all processes, whose batches count as one.
    """
    return ClassLoss(scheme, total) if scheme.regions is None else RegionLoss(scheme, total)


class ClassLoss(nn.Module):
    """Cross-entropy and Dice of classes that exclude each other."""

    def __init__(self, scheme: LabelScheme, total: Total):
        super().__init__()
        self.scheme, self.total = scheme, total
        self._ignore_index = -1 if scheme.ignore_index is None else scheme.ignore_index

    def forward(self, logits: Tensor, classes: Tensor) -> Tensor:
        target = classes[:, 0].long()
        entropy = functional.cross_entropy(logits, target, ignore_index=self._ignore_index, reduction="sum")
        truth, counts = truth_of(classes, self.scheme), counted(classes, self.scheme)
        return _entropy_and_dice(entropy, logits.softmax(dim=1)[:, 1:], truth, counts, self.total)


class RegionLoss(nn.Module):
    """Binary cross-entropy and Dice of regions that may overlap."""

    def __init__(self, scheme: LabelScheme, total: Total):
        super().__init__()
        self.scheme, self.total = scheme, total

    def forward(self, logits: Tensor, classes: Tensor) -> Tensor:
        truth, counts = truth_of(classes, self.scheme), counted(classes, self.scheme)
        weight = None if counts is None else counts.to(logits.dtype)
        # The mean over the regions, with ignored pixels too: nnU-Net takes their sum there, so that a data set that
        # merely names an ignore label would weigh Dice less.
        entropy = functional.binary_cross_entropy_with_logits(
            logits, truth.to(logits.dtype), weight=weight, reduction="sum"
        ) / len(self.scheme.names)
        return _entropy_and_dice(entropy, logits.sigmoid(), truth, counts, self.total)


def _entropy_and_dice(
    entropy: Tensor, probabilities: Tensor, truth: Tensor, counts: Tensor | None, total: Total
) -> Tensor:
    """entropy: summed over the pixels that count. probabilities, truth: (B, N, H, W). counts: (B, 1, H, W) or None.

    One exchange among the processes for all sums: a message of its own for each would cost more time than they do.
    """
    names, over = probabilities.shape[1], (0, 2, 3)
    if counts is not None:
        probabilities = probabilities * counts
    pixels = probabilities[:, 0].numel() if counts is None else counts.sum()
    common = (probabilities * truth).sum(over)
    sizes = probabilities.sum(over) + truth.sum(over)
    rest = torch.stack([entropy, torch.as_tensor(pixels, dtype=entropy.dtype, device=entropy.device)])
    common, sizes, rest = total(torch.cat([common, sizes, rest])).split([names, names, 2])
    dice = (2 * common + SMOOTH) / (sizes + SMOOTH)
    return rest[0] / rest[1].clamp(min=1) + 1 - dice.mean()
