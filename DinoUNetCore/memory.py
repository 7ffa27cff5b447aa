"""Running out of memory, told apart from other errors."""

import torch

from DinoUNetCore.errors import UserError


class OutOfMemory(UserError):  # noqa: N818 - the field's own words
    """The device has too little memory, even for a single patch."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether NumPy or torch could not allocate. Only CUDA has a type for it; MPS and the CPU say it in words."""
    return isinstance(error, MemoryError | torch.cuda.OutOfMemoryError) or (
        isinstance(error, RuntimeError)
        and any(
            words in str(error)
            for words in ("out of memory", "not enough memory", "can't allocate memory", "ALLOC_FAILED")
        )
    )
