"""From the class indices of prepared cases to what each output of the network should and does say."""

import torch
from torch import Tensor

from DinoUNetCore.volume.label_scheme import LabelScheme


def truth_of(classes: Tensor, scheme: LabelScheme) -> Tensor:
    """Class indices (B, 1, H, W) -> (B, N, H, W) bool for the scheme's N names; False in ignored pixels."""
    if scheme.membership is None:
        names = torch.arange(1, 1 + len(scheme.names), device=classes.device)
        return classes == names[None, :, None, None]
    table = torch.zeros(len(scheme.known_values), len(scheme.names), dtype=torch.bool)
    table[: len(scheme.values)] = torch.from_numpy(scheme.membership)
    return table.to(classes.device)[classes[:, 0].long()].movedim(-1, 1)


def counted(classes: Tensor, scheme: LabelScheme) -> Tensor | None:
    """Class indices -> bool of the same shape: which pixels are not to be ignored; None where all count."""
    return None if scheme.ignore_index is None else classes != scheme.ignore_index


def found_by(logits: Tensor, scheme: LabelScheme) -> Tensor:
    """Logits (B, outputs, H, W) -> (B, N, H, W) bool for the scheme's N names: the strongest class, or all regions of
    a probability above 1/2.
    """
    if scheme.membership is not None:
        return logits > 0
    return truth_of(logits.argmax(dim=1, keepdim=True), scheme)


def drawn(logits: Tensor, scheme: LabelScheme) -> Tensor:
    """Logits (B, outputs, H, W) -> (B, H, W): 0 for background, else 1 + the position in the scheme's names of what a
    label map would show.
    """
    if scheme.membership is None:
        return logits.argmax(dim=1)
    places = torch.arange(1, 1 + logits.shape[1], device=logits.device)
    return torch.where(logits > 0, places[None, :, None, None], 0).amax(dim=1)
