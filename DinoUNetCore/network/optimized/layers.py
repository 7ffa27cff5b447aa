"""Layers put together from others that follow each other, with the same result but for rounding."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def linear(weight: Tensor, bias: Tensor, dtype: torch.dtype) -> nn.Linear:
    """weight: (outputs, inputs), or that of a 1x1 convolution; kept in `dtype`, and so is the bias."""
    weight = weight.flatten(1)
    layer = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    layer.weight, layer.bias = constant(weight, dtype), constant(bias, dtype)
    return layer


def constant(tensor: Tensor, dtype: torch.dtype | None = None) -> nn.Parameter:
    return nn.Parameter(tensor.detach().to(dtype).clone(), requires_grad=False)


def shorten(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Bring the layers that multiply matrices, with their biases, to `dtype`; norms stay as they are."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            layer.to(dtype)
    return module


def norm_as_affine(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """A BatchNorm in evaluation as scale and shift of each channel."""
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return scale, norm.bias - norm.running_mean * scale


def after_affine(weight: Tensor, bias: Tensor, scale: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """Weight (outputs, inputs) and bias of a linear map that also does the scale and shift before it."""
    return weight * scale, bias + weight @ shift


def after_linear(weight: Tensor, bias: Tensor, first: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """Weight and bias of a linear map that also does the 1x1 convolution before it."""
    return weight @ first.weight.flatten(1), bias + weight @ first.bias


def channels_last(x: Tensor) -> Tensor:
    """x: (B, C, H, W), its pixels' channels side by side in memory."""
    return x.contiguous(memory_format=torch.channels_last)


def pixels(x: Tensor) -> Tensor:
    """(B, C, H, W) with channels last -> a view (B, H, W, C), which linear maps take."""
    return x.permute(0, 2, 3, 1)


def maps(x: Tensor) -> Tensor:
    """(B, H, W, C) -> a view (B, C, H, W) with channels last, which convolutions take."""
    return x.permute(0, 3, 1, 2)


def instance_norm(x: Tensor, norm: nn.InstanceNorm2d) -> Tensor:
    """x: (B, C, H, W) with channels last -> the same. Over one image it is the norm of a batch, for which PyTorch has a
    kernel that takes channels as they lie; its instance norm copies them twice.
    """
    if x.device.type != "cpu" and len(x) > 1:
        return norm(x)
    images = [F.batch_norm(image, None, None, norm.weight, norm.bias, True, 0.0, norm.eps) for image in x.split(1)]
    return images[0] if len(images) == 1 else torch.cat(images)


def pixel_shuffle_into(target: Tensor, x: Tensor, factor: int) -> None:
    """Fill a view (B, H * factor, W * factor, C) from x: (B, H, W, factor * factor * C)."""
    batch, height, width, _ = x.shape
    x = x.view(batch, height, width, factor, factor, -1).transpose(2, 3)
    target.unflatten(1, (height, factor)).unflatten(3, (width, factor)).copy_(x)
