"""Being told to end by the system, as clusters do before a time limit: what is under way is saved first."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

SAME_WISH = 5.0
"""Seconds within which signals are one."""


class Request:
    """Whether the process was told to end."""

    def __init__(self):
        self.came = False


@contextmanager
def termination_requests() -> Iterator[Request]:
    """Watch for SIGTERM, and for Ctrl-Break on Windows; only the main thread of a process can.

    A second signal, seconds later, ends the process at once, as it would have without this. One that comes sooner is
    the same wish: a cluster signals all processes of a job, and torchrun passes it on to those that it has started.
    """
    request, usual = Request(), {}
    if threading.current_thread() is threading.main_thread():
        for name in ("SIGTERM", "SIGBREAK"):
            number = getattr(signal, name, None)
            if number is not None:
                usual[number] = signal.getsignal(number)
                signal.signal(number, _once(request, number, usual[number]))
    try:
        yield request
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)


def _once(request: Request, number: int, usual):
    first = None

    def handle(*_) -> None:
        nonlocal first
        if first is None:
            first = time.monotonic()
        elif time.monotonic() - first > SAME_WISH:
            signal.signal(number, usual)
            signal.raise_signal(number)
        request.came = True

    return handle
