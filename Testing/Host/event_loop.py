"""Running Qt's event loop in tests: until something has happened, and measuring how long it stood still."""

import time
from collections.abc import Callable

from PySide6 import QtCore

_TICK_MS = 5


def wait_until(condition: Callable[[], bool], timeout: float = 20.0, what: str = "the condition") -> float:
    """Let events be processed until the condition holds.

    Returns the longest time in seconds that the event loop was blocked meanwhile. Raises TimeoutError after `timeout`
    seconds; what the condition raises comes through.
    """
    if condition():
        return 0.0
    loop = QtCore.QEventLoop()
    deadline = time.monotonic() + timeout
    holds, errors = False, []

    def look() -> None:
        nonlocal holds
        try:
            holds = bool(condition())
        except Exception as error:
            errors.append(error)
        if holds or errors or time.monotonic() > deadline:
            loop.quit()

    timer = QtCore.QTimer()
    timer.setInterval(_TICK_MS)
    timer.timeout.connect(look)
    with Blocking() as blocking:
        timer.start()
        loop.exec()
        timer.stop()
    if errors:
        raise errors[0]
    if not holds:
        raise TimeoutError(f"{what} did not come true within {timeout:g} s")
    return blocking.longest


def process_events(seconds: float = 0.0) -> float:
    """Let events be processed for a while, and what is to be deleted later be deleted.

    Returns the longest time in seconds that the event loop was blocked.
    """
    QtCore.QCoreApplication.processEvents()
    QtCore.QCoreApplication.sendPostedEvents(None, QtCore.QEvent.DeferredDelete)
    deadline = time.monotonic() + seconds
    return wait_until(lambda: time.monotonic() >= deadline, seconds + 10.0)


class Blocking:
    """`with Blocking() as blocking:` measures the longest time in seconds in which no event could be processed.

    All that happens inside counts, also code that runs no event loop: `blocking.longest` is what a user would have felt
    as the application standing still.
    """

    def __init__(self):
        self.longest = 0.0

    def __enter__(self) -> "Blocking":
        self._timer = QtCore.QTimer()
        self._timer.setInterval(_TICK_MS)
        self._timer.timeout.connect(self._tick)
        self._last = time.monotonic()
        self._timer.start()
        return self

    def __exit__(self, *error) -> None:
        self._tick()
        self._timer.stop()

    def _tick(self) -> None:
        now = time.monotonic()
        self.longest = max(self.longest, now - self._last - _TICK_MS / 1000)
        self._last = now
