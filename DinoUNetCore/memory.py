"""Running out of memory: told apart from other errors, and said in a sentence."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from DinoUNetCore.errors import UserError, is_out_of_memory

_OF_ACCELERATORS = ("out of memory", "ALLOC_FAILED")
"""How torch tells that a GPU has too little memory. Of the computer's own memory nobody says it so."""

_UNLIMITED_MPS = 1.7  # of the recommended memory: torch's own limit


class OutOfMemory(UserError):  # noqa: N818 - the field's own words
    """A device has too little memory, even for a single patch.

    device: whose memory it is, the CPU's being the computer's own; None where that is not known.
    """

    def __init__(self, sentence: str, device: torch.device | None = None):
        super().__init__(sentence)
        self.device = device


def exhausted(error: BaseException, device: torch.device | None) -> torch.device:
    """Whose memory ran out, if `is_out_of_memory`: that of the device that torch computes on, or the computer's own."""
    if device is None or isinstance(error, MemoryError) or not any(words in str(error) for words in _OF_ACCELERATORS):
        return torch.device("cpu")
    return device


def not_enough(name: str, device: torch.device) -> str:
    """The sentence for it. name: of what needs the memory, such as a volume's."""
    if device.type == "cpu":
        return (
            f"{name} needs more memory than this computer has free; close other programs, crop the image or choose a "
            "smaller model."
        )
    return f"{name} needs more memory than {device} has free; close other programs or use --device cpu."


@contextmanager
def told_when_out_of_memory(name: str, device: torch.device | None = None) -> Iterator[None]:
    """Within the block running out of memory becomes OutOfMemory, with its sentence.

    device: that torch computes on; None for the CPU. Arrays and images are always in the computer's own memory.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        where = exhausted(error, device)
        raise OutOfMemory(not_enough(name, where), where) from error


def give_back(device: torch.device) -> None:
    """Hand the memory that torch keeps for later back to the device."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def limit_memory(device: torch.device, gigabytes: float, say: Callable[[str], None] | None = None) -> None:
    """Let this process take no more of a GPU's memory. say: takes a sentence where that has no effect, on the CPU."""
    if device.type == "cuda":
        index = _index(device)
        total = torch.cuda.get_device_properties(index).total_memory
        torch.cuda.set_per_process_memory_fraction(fraction_of(total, gigabytes), index)
    elif device.type == "mps":
        torch.mps.set_per_process_memory_fraction(fraction_of(torch.mps.recommended_max_memory(), gigabytes))
    elif say is not None:
        say("the limit on memory is for GPUs and has no effect on the CPU; there a smaller batch size needs less.")


def fraction_of(total: int, gigabytes: float) -> float:
    """Which part of `total` bytes so many GB (10^9 bytes) are: all of them at most.

    >>> fraction_of(8_000_000_000, 2)
    0.25
    """
    return min(1.0, gigabytes * 1e9 / total)


@contextmanager
def limited_memory(
    device: torch.device, gigabytes: float | None, say: Callable[[str], None] | None = None
) -> Iterator[None]:
    """Within the block what `limit_memory` does, unless gigabytes is None; afterwards there is no limit."""
    if gigabytes is None:
        yield
        return
    limit_memory(device, gigabytes, say)
    try:
        yield
    finally:
        if device.type == "cuda":
            torch.cuda.set_per_process_memory_fraction(1.0, _index(device))
        elif device.type == "mps":
            torch.mps.set_per_process_memory_fraction(_UNLIMITED_MPS)


def _index(device: torch.device) -> int:
    return torch.cuda.current_device() if device.index is None else device.index
