"""Layers put together from others that follow each other, with the same result but for rounding."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Affine = tuple[Tensor, Tensor]


class Linear(nn.Module):
    """A linear map of the last axis: (..., inputs) -> (..., outputs).

    On a CPU it is oneDNN's, which adds the bias while it multiplies, with the weight packed in oneDNN's own order: up
    to a third faster than `torch.nn.functional.linear`. Where PyTorch cannot pack it, a 1x1 convolution over channels
    that lie last is the same product; oneDNN, where PyTorch has it, then packs in every call.

    weight: (outputs, inputs), or that of a 1x1 convolution. Weight and bias are kept in `dtype`. A packed weight is
    kept packed alone, and is no parameter.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype):
        super().__init__()
        self.dtype = dtype
        self.weight = constant(weight.flatten(1), dtype)
        self.bias = None if bias is None else constant(bias, dtype)
        self._pack()

    def forward(self, x: Tensor) -> Tensor:
        if self._packed is not None:
            return torch.ops.mkldnn._linear_pointwise(x.to(self.dtype), self._packed, self.bias, "none", [], "")
        if x.device.type != "cpu":
            return F.linear(x, self.weight, self.bias)
        columns = x.reshape(1, -1, 1, x.shape[-1]).permute(0, 3, 1, 2)  # (1, inputs, N, 1) with channels last
        result = F.conv2d(columns, self.weight[..., None, None], self.bias)
        return result.permute(0, 2, 3, 1).reshape(*x.shape[:-1], -1)

    def _pack(self) -> None:
        self._packed = _packed(self.weight) if self.weight.device.type == "cpu" else None
        if self._packed is not None:
            self.weight = None

    def _unpack(self) -> None:
        if self._packed is not None:
            self.weight, self._packed = constant(self._packed.to_dense(), self.dtype), None

    def _apply(self, *arguments: Any, **options: Any) -> "Linear":
        """As torch's, which brings modules to other devices and types."""
        self._unpack()
        super()._apply(*arguments, **options)
        self.dtype = self.weight.dtype
        self._pack()
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> "Linear":
        """torch does not copy what is packed."""
        weight = self.weight if self._packed is None else self._packed.to_dense()
        return type(self)(weight, None if self.bias is None else self.bias.clone(), self.dtype)


def _packed(weight: Tensor) -> Tensor | None:
    """weight: (outputs, inputs), as oneDNN multiplies it; None where this PyTorch or this CPU has no such product of
    its dtype. These operators are what torch.compile uses; they are not public, so their absence is no error.
    """
    try:
        packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach())
        torch.ops.mkldnn._linear_pointwise(weight.new_zeros(1, weight.shape[1]), packed, None, "none", [], "")
    except (AttributeError, NotImplementedError, RuntimeError):
        return None
    return packed


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


def affine(layer: nn.Conv2d) -> Affine:
    """Weight (outputs, inputs) and bias of a 1x1 convolution."""
    return layer.weight.flatten(1), layer.bias


def composed(second: Affine, first: Affine) -> Affine:
    """Weight and bias of a linear map that does one after the other."""
    return second[0] @ first[0], second[1] + second[0] @ first[1]


def stacked(*layers: Affine) -> Affine:
    """Weight and bias of a linear map that does several to the same input, their outputs side by side."""
    weights, biases = zip(*layers, strict=True)
    return torch.cat(weights), torch.cat(biases)


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
