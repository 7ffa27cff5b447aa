"""torch.compile with a way back: what cannot be compiled runs as it is, and it is said why."""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from DinoUNetCore.errors import UserError, is_out_of_memory

BACKEND = "inductor"
"""What compiles: torch's own default."""

_LONGEST_REASON = 200  # characters; compilers tell much


class Compiled:
    """Callable: a function as torch.compile makes it, or, from its first failure on, as it is.

    A new shape of the arguments is compiled anew. A failure is told in one sentence, and its call is answered by the
    function itself. What `is_the_compilers` denies passes.

    function: of tensors, without effects, so that it may be called again. say: takes the sentence.
    """

    def __init__(self, function: Callable[..., Tensor], say: Callable[[str], None], backend: str | Callable = BACKEND):
        self._function, self._say, self._backend = function, say, backend
        self._compiled: Callable[..., Tensor] | None = None
        self.works = True

    def __call__(self, *arguments: Tensor) -> Tensor:
        if self.works:
            try:
                if self._compiled is None:
                    check_compiler(arguments[0].device, self._backend)
                    self._compiled = compiled(self._function, self._backend)
                return self._compiled(*arguments)
            except Exception as error:
                if not is_the_compilers(error):
                    raise
                self.works = False
                self._say(f"torch.compile failed ({reason_of(error)}), so the network runs without it.")
        return self._function(*arguments)


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


def is_the_compilers(error: Exception) -> bool:
    """Whether an error of a compiled function may be its compiler's, so that it is worth trying without.

    Compilers raise all kinds of errors; a mistake of the function itself comes again where it runs as it is. Memory
    that ran out is a matter of the batch, and a UserError the user's.
    """
    return not isinstance(error, UserError) and not is_out_of_memory(error)


def reason_of(error: Exception) -> str:
    """The first line of what an error says, not too long, or its kind."""
    error = getattr(error, "inner_exception", error)  # torch wraps what its compilers raise
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".:")[:_LONGEST_REASON] if lines else type(error).__name__
