"""Running out of memory at a chosen step of torch's work, with the very errors that torch raises."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode

CUDA = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
CPU = RuntimeError(
    "[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate "
    "20971520 bytes. Error code 12 (Cannot allocate memory)"
)


class OutOfMemoryAt(TorchDispatchMode):
    """Within the block torch's operation number `step` (from 0) raises `error`: once, or each one from then on.

    step: None counts only. done: how many operations there were.
    """

    def __init__(self, step: int | None = None, error: Exception = CUDA, for_good: bool = False):
        super().__init__()
        self.step, self.error, self.for_good, self.done = step, error, for_good, 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        number, self.done = self.done, self.done + 1
        if self.step is not None and (number == self.step or (self.for_good and number > self.step)):
            raise self.error
        return operation(*args, **(kwargs or {}))
