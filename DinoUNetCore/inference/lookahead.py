"""Making the next item of a sequence while the present one is worked on."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import torch

Item = TypeVar("Item")

_END = object()


@contextmanager
def one_ahead(items: Iterable[Item], in_background: bool = True) -> Iterator[Iterator[Item]]:
    """The items; each is made by one background thread while the one before it is used, or else when it is asked for.

    What making an item raises comes where that item is asked for. When the block ends, however it ends, so has the
    thread: at most an item that was begun is made to its end.
    """
    if not in_background:
        yield iter(items)
        return
    with ThreadPoolExecutor(1, thread_name_prefix="one-ahead") as thread:
        yield _made_by(thread, items)


def _made_by(thread: ThreadPoolExecutor, items: Iterable[Item]) -> Iterator[Item]:
    iterator = iter(items)
    make = _as_this_thread_computes(lambda: next(iterator, _END))
    upcoming = thread.submit(make)
    # In a list that is emptied: nothing here holds an item while it is used.
    while (made := [upcoming.result()])[0] is not _END:
        upcoming = thread.submit(make)
        yield made.pop()


def _as_this_thread_computes(function: Callable[[], Any]) -> Callable[[], Any]:
    """The function in the present thread's torch mode and on its GPU, whichever thread calls it."""
    inference = torch.is_inference_mode_enabled()
    gpu = torch.cuda.current_device() if torch.cuda.is_initialized() else -1  # -1: leave it as it is

    def computed() -> Any:
        with torch.inference_mode(inference), torch.cuda.device(gpu):
            return function()

    return computed
