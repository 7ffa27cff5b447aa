"""The training loss: cross-entropy plus soft Dice."""

from torch import nn

from DinoUNetCore.errors import UserError


def make_loss() -> nn.Module:
    """Loss of logits (B, C, H, W) and classes (B, 1, H, W): cross-entropy + soft Dice loss, equally weighted.

    Dice is taken over the whole batch and without the background, smooth 1e-5: the authors' loss (nnU-Net's), plus 1,
    as MONAI counts 1 - Dice where they count -Dice.
    """
    try:
        from monai.losses import DiceCELoss
    except ImportError as error:
        raise UserError('training needs MONAI: python -m pip install "dinounet-slicer[train]".') from error
    return DiceCELoss(
        include_background=False, to_onehot_y=True, softmax=True, batch=True, smooth_nr=1e-5, smooth_dr=1e-5
    )
