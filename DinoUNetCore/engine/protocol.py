"""Frames of the protocol (see PROTOCOL.md): one line of JSON, then raw bytes. For both ends; standard library only."""

import json
import math
import re
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

VERSION = 1
MAGIC = b"DINOUNET-ENGINE %d\n" % VERSION
"""The engine's first line."""
MAX_LINE = 1 << 20
"""Bytes of a frame's line, with its end."""
MAX_DATA = 1 << 20
"""Bytes that follow a line."""
MAX_BANNER = 1 << 16
"""Bytes of foreign text before the magic line."""

_MAGIC_LINE = re.compile(rb"DINOUNET-ENGINE (\d{1,9})(\r?)\n\Z")
_LONGEST_NUMBER = 20  # digits; enough for 64 bits


class ProtocolError(Exception):
    """The stream is broken: what follows cannot be understood. The text is part of a sentence."""


@dataclass(frozen=True)
class Frame:
    """fields: of the line. data: the bytes after it; nobody else keeps them."""

    fields: dict[str, Any]
    data: bytearray


def encode_frame(fields: Mapping[str, Any], data: bytes | bytearray | memoryview = b"") -> bytes:
    """A frame as bytes; its field `bytes` is written here. Characters that UTF-8 does not have become "?".

    ValueError for numbers that are not finite and for a line or data beyond MAX_LINE and MAX_DATA.
    """
    data = memoryview(data).cast("B")
    if len(data) > MAX_DATA:
        raise ValueError(f"a frame carries at most {MAX_DATA} bytes, not {len(data)}")
    if data:
        fields = {**fields, "bytes": len(data)}
    text = json.dumps(fields, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    line = text.encode("utf-8", "replace") + b"\n"
    if len(line) > MAX_LINE:
        raise ValueError(f"a frame's line has at most {MAX_LINE} bytes, not {len(line)}")
    return line + data


class FrameReader:
    """Takes a stream in pieces of any size and gives back its frames. It does no input or output itself.

        reader.feed(piece)
        for frame in reader: ...

    Holds one frame and what was fed last. skip_banner: for the client, whose stream begins with the magic line and
    perhaps foreign text before it. Iterating raises ProtocolError where the stream is broken; it is of no use then.
    """

    def __init__(self, skip_banner: bool = False):
        self._pieces: deque[bytes] = deque()
        self._at = 0  # how much of the first piece is used
        self._before_magic = skip_banner
        self._skipped = 0  # bytes of the banner
        self._line = bytearray()
        self._fields: dict[str, Any] | None = None  # of the frame whose bytes are arriving
        self._data, self._expected = bytearray(), 0

    def feed(self, piece: bytes) -> None:
        """Add what has arrived. It is not copied: it must not be changed afterwards."""
        if piece:
            self._pieces.append(piece)

    def __iter__(self) -> Iterator[Frame]:
        """The frames that are complete by now."""
        while self._pieces:
            piece = self._pieces[0]
            if self._fields is None:
                self._take_line(piece)
            else:
                self._take_data(piece)
            if self._at == len(piece):
                self._pieces.popleft()
                self._at = 0
            if self._fields is not None and len(self._data) == self._expected:
                frame = Frame(self._fields, self._data)
                self._fields, self._data = None, bytearray()
                yield frame

    def _take_line(self, piece: bytes) -> None:
        room = (MAX_BANNER + len(MAGIC) - self._skipped if self._before_magic else MAX_LINE) - len(self._line)
        end = piece.find(b"\n", self._at, self._at + room) + 1
        if not end and len(piece) - self._at >= room:
            if self._before_magic:
                raise ProtocolError("it does not begin with the engine's first line")
            raise ProtocolError(f"a line is longer than {MAX_LINE} bytes")
        stop = end or len(piece)
        self._line += piece[self._at : stop]
        self._at = stop
        if end:
            line, self._line = bytes(self._line), bytearray()
            if self._before_magic:
                self._look_for_magic(line)
            else:
                self._fields = _parse(line)
                self._expected = self._fields.get("bytes", 0)

    def _take_data(self, piece: bytes) -> None:
        stop = min(len(piece), self._at + self._expected - len(self._data))
        self._data += memoryview(piece)[self._at : stop]
        self._at = stop

    def _look_for_magic(self, line: bytes) -> None:
        found = _MAGIC_LINE.search(line)
        if not found:
            self._skipped += len(line)
            return
        if found[2]:
            raise ProtocolError("line ends are changed on the way, as terminals do; connect without a terminal")
        if int(found[1]) != VERSION:
            raise ProtocolError(f"the engine speaks version {int(found[1])} of the protocol, this program {VERSION}")
        self._before_magic = False


def _parse(line: bytes) -> dict[str, Any]:
    """The fields of a line, in plain finite values, with a sound field `bytes`."""
    try:
        fields = json.loads(line.decode("utf-8"), parse_int=_whole, parse_float=_finite, parse_constant=_refuse)
        if b"\\u" in line:  # escapes can name half characters, which no file name and no answer could hold
            json.dumps(fields, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"a line is no JSON object ({type(error).__name__})") from error
    if not isinstance(fields, dict):
        raise ProtocolError("a line is no JSON object")
    count = fields.get("bytes", 0)
    if type(count) is not int or not 0 <= count <= MAX_DATA:
        raise ProtocolError(f"a frame's number of bytes is not a whole number from 0 to {MAX_DATA}")
    return fields


def _whole(text: str) -> int:
    if len(text) > _LONGEST_NUMBER:
        raise ValueError("a number has too many digits")
    return int(text)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("a number is too large")
    return value


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")
