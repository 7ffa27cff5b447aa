"""The CPU takes over where a GPU has too little memory."""

import gc
from collections.abc import Callable
from typing import TypeVar

import torch

from DinoUNetCore.inference.segmenter import Segmenter
from DinoUNetCore.memory import OutOfMemory, give_back

Result = TypeVar("Result")


class CpuInReserve:
    """A segmenter on a device, and on the CPU from when the device cannot hold the model, or one patch.

    Args:
        make: makes the segmenter: make(False) on the device, make(True) on the CPU instead.
        say: takes the sentence about it.
        allowed: whether the CPU may take over; if not, and on the CPU itself, OutOfMemory is raised.
    """

    def __init__(
        self, make: Callable[[bool], Segmenter], device: torch.device, say: Callable[[str], None], allowed: bool = True
    ):
        self._make, self._device, self._say = make, device, say
        self._allowed = allowed and device.type != "cpu"
        self.segmenter: Segmenter | None = None
        try:
            self.segmenter = make(False)
        except OutOfMemory:
            if not self._allowed:
                raise
        if self.segmenter is None:
            self._hand_over()

    def run(self, work: Callable[[Segmenter], Result]) -> Result:
        """What `work` makes of the segmenter; once more with the CPU's where the device has too little memory."""
        try:
            return work(self.segmenter)
        except OutOfMemory:
            if not self._allowed:
                raise
        self._hand_over()  # outside the except block, which holds on to what was allocated
        return work(self.segmenter)

    def _hand_over(self) -> None:
        self._say(f"{self._device} has too little free memory for this; the CPU does it instead, which takes longer.")
        self._allowed = False
        self.segmenter = None
        gc.collect()
        give_back(self._device)
        self.segmenter = self._make(True)
