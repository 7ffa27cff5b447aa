"""Layers put together from others that follow each other, with the same result but for rounding."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Linear(nn.Module):
    """A linear map of the last axis: (..., inputs) -> (..., outputs).

    On a CPU it is computed as a 1x1 convolution over channels that lie last: the same product of matrices, by oneDNN,
    which adds the bias while it multiplies, and is up to a quarter faster than `torch.nn.functional.linear`.

    weight: (outputs, inputs), or that of a 1x1 convolution. Both are kept in `dtype`.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype):
        super().__init__()
        self.weight = constant(weight.flatten(1), dtype)
        self.bias = None if bias is None else constant(bias, dtype)

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu":
            return F.linear(x, self.weight, self.bias)
        columns = x.reshape(1, -1, 1, x.shape[-1]).permute(0, 3, 1, 2)  # (1, inputs, N, 1) with channels last
        result = F.conv2d(columns, self.weight[..., None, None], self.bias)
        return result.permute(0, 2, 3, 1).reshape(*x.shape[:-1], -1)


def with_own_linear(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    """The module with all layers of the kind `torch.nn.Linear` replaced; itself, if it is none."""
    if isinstance(module, nn.Linear):
        return Linear(module.weight, module.bias, dtype)
    for name, child in module.named_children():
        setattr(module, name, with_own_linear(child, dtype))
    return module


def constant(tensor: Tensor, dtype: torch.dtype | None = None) -> nn.Parameter:
    return nn.Parameter(tensor.detach().to(dtype).contiguous(), requires_grad=False)


def prepared(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Bring the layers that multiply matrices, with their biases, to `dtype` and to channels_last; norms stay as they
    are.
    """
    module = with_own_linear(module, dtype)
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            layer.to(dtype=dtype, memory_format=torch.channels_last)
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
