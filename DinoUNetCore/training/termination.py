"""Being told to end by the system, as clusters do before a time limit: what is under way is saved first."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Request:
    """Whether the process was told to end."""

    def __init__(self):
        self.came = False


@contextmanager
def termination_requests() -> Iterator[Request]:
    """Watch for SIGTERM, and for Ctrl-Break on Windows; only the main thread of a process can.

    A second signal ends the process at once, as it would have without this.
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
    def handle(*_) -> None:
        request.came = True
        signal.signal(number, usual)

    return handle
