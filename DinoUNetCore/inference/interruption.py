"""Stopping a network in the middle of its work."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def watched(network: nn.Module, check: Callable[[], None] | None) -> Iterator[None]:
    """Within the block `check` is called before every module of the network runs; what it raises ends the pass.

    Every module, down to single convolutions: a transformer's block, an extractor or a stage of the decoder may take
    seconds on a CPU, a check takes a microsecond.
    """
    if check is None:
        yield
        return
    handles = [module.register_forward_pre_hook(lambda *_: check()) for module in network.modules()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
