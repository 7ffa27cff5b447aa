"""A request on its way from its arrival to its last event."""

import threading
from collections.abc import Iterator
from typing import Any

from DinoUNetCore.engine.channel import Channel
from DinoUNetCore.engine.protocol import MAX_DATA
from DinoUNetCore.engine.refusals import Cancelled, Refusal
from DinoUNetCore.engine.requests import Request


class Upload:
    """The data of a request while it arrives: one buffer per part, which grows with the bytes that have come.

    One thread adds while another may take.
    """

    def __init__(self, parts: list[int]):
        self._parts = parts
        self._buffers = [bytearray() for _ in parts]
        self._current = self._frames = 0
        self._lock = threading.Lock()
        self._skip_full_parts()

    @property
    def complete(self) -> bool:
        return self._current == len(self._parts)

    def add(self, number: Any, data: bytearray) -> None:
        """Append the data frame `number`. Refusal if it is not the next one or has more than is to come."""
        with self._lock:
            if type(number) is not int or number != self._frames:
                raise Refusal("bad_request", f"data frame {self._frames} of the request is missing.")
            self._frames += 1
            rest = memoryview(data)
            while rest and self._buffers:
                if self.complete:
                    raise Refusal("bad_request", "there is more data than the request has announced.")
                buffer = self._buffers[self._current]
                part = rest[: self._parts[self._current] - len(buffer)]
                buffer += part
                rest = rest[len(part) :]
                self._skip_full_parts()

    def take(self) -> list[bytearray]:
        """The buffers, which are the caller's from now on; what is added later is dropped."""
        with self._lock:
            buffers, self._buffers = self._buffers, []
            return buffers

    def _skip_full_parts(self) -> None:
        while not self.complete and len(self._buffers[self._current]) == self._parts[self._current]:
            self._current += 1


class Job:
    """A request, its data, and its answers. It ends exactly once; whatever is sent later raises Cancelled."""

    def __init__(self, request: Request, channel: Channel):
        self.request = request
        self.upload = Upload(request.parts)
        self._channel = channel
        self._lock = threading.Lock()
        self._ended = False

    @property
    def ended(self) -> bool:
        return self._ended

    def check(self) -> None:
        """Raise Cancelled if the request has ended. Work calls this as often as it can."""
        if self._ended:
            raise Cancelled

    def take_data(self) -> list[bytearray]:
        """The data that has arrived, one buffer per part; it is the caller's from now on."""
        buffers = self.upload.take()
        self.check()  # a request that ends has its data dropped, perhaps just now
        return buffers

    def progress(self, fraction: float, seconds_left: float | None, stage: str) -> None:
        """Tell how far the work is, and which of the protocol's stages it has reached; a slow client is spared."""
        self.check()
        if not self._channel.is_slow:
            self._send("progress", {"fraction": fraction, "seconds_left": seconds_left, "stage": stage})

    def log(self, level: str, text: str) -> None:
        """Tell the user something. level: "info" or "warning"."""
        self._send("log", {"level": level, "text": text})

    def finish(self, fields: dict[str, Any] | None = None, data: memoryview | None = None) -> None:
        """End with a result, and the data that belongs to it."""
        if data is None:
            self._send("result", fields or {}, last=True)
            return
        self._send("result", {**(fields or {}), "total_bytes": len(data)}, last=not data)
        pieces = list(_pieces(data))
        for number, piece in enumerate(pieces):
            self._channel.wait_for_room(self.check)
            self._send("data", {"data": number}, piece, last=number == len(pieces) - 1)

    def fail(self, code: str, message: str) -> None:
        """End with an error; nothing happens if it has ended already. Data that has arrived is dropped."""
        try:
            self._send("error", {"code": code, "message": message}, last=True)
        except Cancelled:
            return
        self.upload.take()

    def _send(self, event: str, fields: dict[str, Any], data: bytes | memoryview = b"", last: bool = False) -> None:
        with self._lock:
            self.check()
            self._channel.send({"id": self.request.id, "event": event, **fields}, data)
            self._ended = last


def _pieces(data: memoryview) -> Iterator[memoryview]:
    for start in range(0, len(data), MAX_DATA):
        yield data[start : start + MAX_DATA]
