"""The CPU takes over where a GPU has too little memory."""

import gc
from collections.abc import Callable
from copy import copy
from typing import TypeVar

import torch

from DinoUNetCore.errors import UserError
from DinoUNetCore.inference.segmenter import Segmenter
from DinoUNetCore.memory import OutOfMemory, give_back

Result = TypeVar("Result")


class CpuInReserve:
    """A segmenter on a device, and on the CPU from when the device cannot hold the model, or one patch.

    Args:
        make: makes the segmenter: make(False) on the device, make(True) on the CPU instead.
        say: takes the sentence about it.
        allowed: whether the CPU may take over; if not, and on the CPU itself, OutOfMemory is raised. So it is where
            the computer's own memory ran out, of which the CPU has no more.

    Raises what `make` raises: where the CPU cannot take over either, its UserError, and from then on always.
    """

    def __init__(
        self, make: Callable[[bool], Segmenter], device: torch.device, say: Callable[[str], None], allowed: bool = True
    ):
        self._make, self._device, self._say = make, device, say
        self._allowed = allowed and device.type != "cpu"
        self._segmenter: Segmenter | None = None
        self._failure: UserError | None = None
        try:
            self._segmenter = make(False)
        except OutOfMemory as error:
            if not self._helps_against(error):
                raise
        if self._segmenter is None:
            self._hand_over()

    @property
    def segmenter(self) -> Segmenter:
        """The one that works now. UserError where there is none any more, since the CPU could not take over."""
        if self._failure is not None:
            raise copy(self._failure)
        return self._segmenter

    def run(self, work: Callable[[Segmenter], Result]) -> Result:
        """What `work` makes of the segmenter; once more with the CPU's where the device has too little memory."""
        try:
            return work(self.segmenter)
        except OutOfMemory as error:
            if not self._helps_against(error):
                raise
        self._hand_over()  # outside the except block, which holds on to what was allocated
        return work(self.segmenter)

    def _helps_against(self, error: OutOfMemory) -> bool:
        """Whether the CPU may take over, and has the memory that was missing."""
        return self._allowed and (error.device is None or error.device.type == self._device.type)

    def _hand_over(self) -> None:
        self._say(f"{self._device} has too little free memory for this; the CPU does it instead, which takes longer.")
        self._allowed = False
        self._segmenter = None
        gc.collect()
        give_back(self._device)
        try:
            self._segmenter = self._make(True)
        except UserError as error:
            self._failure = copy(error)  # without its traceback, which holds on to what was allocated
            raise


def precision_on_cpu(asked: str) -> str:
    """The precision that was asked for, where the CPU takes over; its usual one in place of float16, which it lacks."""
    return "auto" if asked == "float16" else asked
