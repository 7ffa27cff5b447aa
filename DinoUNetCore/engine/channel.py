"""The way to the client: frames are written by a thread of its own, so that a slow client delays neither the reading
of requests nor the work."""

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from DinoUNetCore.engine.protocol import MAGIC, encode_frame

BROKEN_STREAM = 3
"""Exit code after a frame that cannot be understood."""
PATIENCE = 1.0  # seconds that the last words may take
MAX_UNREAD = 1000  # frames
_ROOM = 4  # frames that may wait before the client counts as slow


class Channel:
    """Frames to the client, in the order in which they are sent; any thread may send."""

    def __init__(self, descriptor: int):
        self._descriptor = descriptor
        self._frames: deque[bytes] = deque([MAGIC])  # the first one stays until it is written
        self._changed = threading.Condition()
        self._leaving = False
        threading.Thread(target=self._write_frames, name="writer", daemon=True).start()

    def send(self, fields: Mapping[str, Any], data: bytes | memoryview = b"") -> None:
        """Never waits. Ends the process if the client has not read a thousand frames before this one."""
        frame = encode_frame(fields, data)
        with self._changed:
            if self._leaving:
                return
            self._frames.append(frame)
            self._changed.notify_all()
            unread = len(self._frames)
        if unread > MAX_UNREAD:
            self.leave(BROKEN_STREAM)

    @property
    def is_slow(self) -> bool:
        """Whether the client has not yet read what was sent before."""
        return len(self._frames) > _ROOM

    def wait_for_room(self, check: Callable[[], None]) -> None:
        """Wait until the client has taken most of what was sent. Meanwhile `check` is called, and may raise."""
        with self._changed:
            while self.is_slow:
                self._changed.wait(0.1)
                check()

    def leave(self, code: int) -> NoReturn:
        """End the process once everything is written, but after a second in any case. Nothing more can be sent."""
        until = time.monotonic() + PATIENCE
        with self._changed:
            self._leaving = True
            while self._frames and (left := until - time.monotonic()) > 0:
                self._changed.wait(left)
        os._exit(code)

    def _write_frames(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._frames)
                frame = self._frames[0]
            rest = memoryview(frame)
            try:
                while rest:
                    rest = rest[os.write(self._descriptor, rest) :]
            except OSError:  # nobody reads any more
                os._exit(0)
            with self._changed:
                self._frames.popleft()
                self._changed.notify_all()
