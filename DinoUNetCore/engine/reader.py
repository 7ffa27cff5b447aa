"""The way from the client: a thread that reads frames, and ends the process when there is nothing more to read."""

import os
import threading
import traceback

from DinoUNetCore.engine.channel import BROKEN_STREAM, Channel
from DinoUNetCore.engine.inbox import Inbox
from DinoUNetCore.engine.protocol import FrameReader, ProtocolError

_PIECE = 1 << 16  # bytes; what a pipe holds
_FAILED = 1  # exit code


def start_reading(descriptor: int, inbox: Inbox, channel: Channel) -> None:
    """Fill the inbox from now on, whatever the main thread does."""
    threading.Thread(target=_read, args=(descriptor, inbox, channel), name="reader", daemon=True).start()


def _read(descriptor: int, inbox: Inbox, channel: Channel) -> None:
    reader = FrameReader()
    try:
        while piece := _next_piece(descriptor):
            reader.feed(piece)
            for frame in reader:
                inbox.take(frame)
    except ProtocolError as error:
        _say_last(channel, "protocol", f"the requests cannot be understood: {error}.")
        channel.leave(BROKEN_STREAM)
    except Exception:  # a fault of ours; without its reader the engine would be deaf
        traceback.print_exc()
        _say_last(channel, "internal", "the engine failed while it read requests; its log says more.")
        channel.leave(_FAILED)
    os._exit(0)


def _next_piece(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, _PIECE)
    except OSError:  # some systems report so that the other end is gone
        return b""


def _say_last(channel: Channel, code: str, message: str) -> None:
    channel.send({"id": None, "event": "error", "code": code, "message": message})
