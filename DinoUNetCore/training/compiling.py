"""torch.compile, and what its failures say."""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

BACKEND = "inductor"
"""What compiles: torch's own default."""

_LONGEST_REASON = 200  # characters; compilers tell much


def compiled(function: Callable[..., Tensor], backend: str | Callable = BACKEND) -> Callable[..., Tensor]:
    """A function that compiles itself for each shape that its arguments have, when they have it first."""
    # harmless: tables that depend on sizes alone become a part of what is compiled
    warnings.filterwarnings("ignore", message=".*lru_cache`-wrapped function")
    return torch.compile(function, backend=backend, dynamic=False)


def check_compiler(device: torch.device, backend: str | Callable = BACKEND) -> None:
    """Raises what a compiler raises that is missing, before it has thought about a network for minutes."""
    compiled(_doubled, backend)(torch.ones(1, device=device))


def _doubled(tensor: Tensor) -> Tensor:
    return 2 * tensor


def reason_of(error: Exception) -> str:
    """The first line of what an error says, not too long, or its kind."""
    error = getattr(error, "inner_exception", error)  # torch wraps what its compilers raise
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".:")[:_LONGEST_REASON] if lines else type(error).__name__
