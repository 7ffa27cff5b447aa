"""Gradients of the whole batch, from those of the processes' parts of it."""

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn

from DinoUNetCore.training.checkpoints import changing_tensors
from DinoUNetCore.training.processes import Processes

BUCKET = 8_000_000
"""Numbers that are sent at once, while the backward pass goes on with the layers before."""


class GradientMean:
    """Takes the mean of the gradients over all processes during a backward pass.

    torch's DistributedDataParallel does the same, but wants every parameter to get a gradient (the heads of the coarser
    stages get none) and each batch to come to its backward pass (those without a finite loss do not).

    overlaps: whether gradients are sent while others are still computed. For that they must become ready in the same
    order in all processes, as they do in equal networks; not where some processes may run what was compiled.
    """

    def __init__(self, network: nn.Module, processes: Processes):
        self.processes = processes
        self.listening, self.overlaps = False, True
        self._order = {parameter: number for number, parameter in enumerate(network.parameters())}
        self._ready: list[Tensor] = []  # parameters with new gradients, not sent yet
        self._sent: list[tuple[dist.Work, Tensor, list[Tensor]]] = []
        if processes.count > 1:
            for parameter in network.parameters():
                if parameter.requires_grad:
                    parameter.register_post_accumulate_grad_hook(self._collect)

    def _collect(self, parameter: Tensor) -> None:
        if self.listening:
            self._ready.append(parameter)
            if self.overlaps and sum(one.numel() for one in self._ready) >= BUCKET:
                self._send()

    def _send(self) -> None:
        if not self.overlaps:
            self._ready.sort(key=self._order.__getitem__)
        numbers = torch.cat([parameter.grad.flatten() for parameter in self._ready])
        self._sent.append((dist.all_reduce(numbers, async_op=True), numbers, self._ready))
        self._ready = []

    def backward(self, loss: Tensor, last: bool) -> None:
        """`loss.backward()`; after the last part of a batch the gradients are the mean's."""
        self.listening = last
        loss.backward()
        if self._ready:
            self._send()
        for work, numbers, parameters in self._sent:
            work.wait()
            _distribute(numbers.div_(self.processes.count), parameters)
        self._sent = []


def _distribute(numbers: Tensor, parameters: Iterable[Tensor]) -> None:
    parameters = list(parameters)
    parts = numbers.split([parameter.numel() for parameter in parameters])
    for parameter, part in zip(parameters, parts, strict=True):
        parameter.grad.copy_(part.view_as(parameter))


def send_from_first(network: nn.Module, processes: Processes) -> None:
    """Make what is trained, and the buffers, in all processes those of the first."""
    if processes.count == 1:
        return
    for tensor in changing_tensors(network).values():
        values = tensor.contiguous()
        dist.broadcast(values, 0)
        tensor.copy_(values)
