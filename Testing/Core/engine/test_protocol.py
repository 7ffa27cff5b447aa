"""Frames: what is encoded is what is read, in pieces of any size; broken streams are told, whatever is in them."""

import random
import time
import tracemalloc
from contextlib import suppress

import pytest

from DinoUNetCore.engine.protocol import MAGIC, MAX_BANNER, MAX_DATA, MAX_LINE, FrameReader, ProtocolError, encode_frame

FRAMES = [
    ({"id": 1, "request": "hello"}, b""),
    ({"id": 2, "data": 0}, b"\x00\n\xff{" * 1000),
    ({"text": "Leber 肝臓 \u2028 \U0001f600", "half": 0.5, "nothing": None}, b"x"),
    ({}, b""),
]


def read(stream: bytes, sizes, **options):
    """(fields without bytes, data) of all frames, the stream fed in pieces of these sizes."""
    reader, found, at = FrameReader(**options), [], 0
    while at < len(stream):
        size = next(sizes)
        reader.feed(stream[at : at + size])
        at += size
        found += [({k: v for k, v in frame.fields.items() if k != "bytes"}, bytes(frame.data)) for frame in reader]
    return found


@pytest.mark.parametrize("size", [1, 2, 7, 1000, 10**6])
def test_frames_come_out_as_they_went_in_whatever_the_pieces(size):
    stream = b"".join(encode_frame(*frame) for frame in FRAMES)
    assert read(stream, iter(lambda: size, None)) == FRAMES


def test_frames_that_are_not_taken_at_once_stay():
    reader = FrameReader()
    reader.feed(b"".join(encode_frame(*frame) for frame in FRAMES))
    assert next(iter(reader)).fields["id"] == 1
    assert next(iter(reader)).fields["id"] == 2
    assert len(list(reader)) == 2


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        b"7",
        b"null",
        b'"text"',
        b"{",
        b"{'id': 1}",
        b'{"id": NaN}',
        b'{"id": Infinity}',
        b'{"id": 1e999}',
        b'{"id": ' + b"9" * 5000 + b"}",
        b'{"id": ' + b"9" * 21 + b"}",
        b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a": ' + b'{"a": ' * 100_000 + b"0" + b"}" * 100_001,
        b'{"name": "\xff"}',
        b'{"name": "\\ud800"}',
        b'{"\\udfff": 1}',
        b'\xef\xbb\xbf{"id": 1}',
        '{"id": 1}'.encode("utf-16"),
        b'{"bytes": -1}',
        b'{"bytes": 1048577}',
        b'{"bytes": true}',
        b'{"bytes": 1.0}',
        b'{"bytes": "1"}',
        b'{"bytes": null}',
        b'{"bytes": 1e3}',
        b"\x00" * 100,
        b"GET / HTTP/1.1\r",
    ],
    ids=lambda line: repr(line[:20]),
)
def test_a_line_that_is_no_sound_object_breaks_the_stream(line):
    reader = FrameReader()
    reader.feed(encode_frame({"id": 1}) + line + b"\n")
    frames = iter(reader)
    assert next(frames).fields == {"id": 1}
    with pytest.raises(ProtocolError):
        next(frames)


@pytest.mark.parametrize("size", [1 << 16, MAX_LINE + 5])
def test_a_line_that_does_not_end_is_told_when_it_is_too_long_not_later(size):
    reader = FrameReader()
    with pytest.raises(ProtocolError, match="longer"):
        for _ in range(MAX_LINE // size + 2):
            reader.feed(b"x" * size)
            list(reader)


def test_a_line_of_exactly_the_limit_is_read():
    text = "x" * (MAX_LINE - len(encode_frame({"t": ""})))
    line = encode_frame({"t": text})
    assert len(line) == MAX_LINE
    assert read(line, iter(lambda: 4096, None)) == [({"t": text}, b"")]
    with pytest.raises(ValueError, match="line"):
        encode_frame({"t": text + "x"})


def test_what_no_reader_would_take_is_not_encoded():
    with pytest.raises(ValueError, match="carries at most"):
        encode_frame({}, bytes(MAX_DATA + 1))
    with pytest.raises(ValueError, match="JSON"):
        encode_frame({"fraction": float("nan")})
    assert read(encode_frame({"path": "a\udcff"}), iter(lambda: 99, None)) == [({"path": "a?"}, b"")]


@pytest.mark.parametrize("banner", [b"", b"Welcome!\n\n", b"no line end ", b"\xff\x00{}\n" * 1000, b"x" * 60_000])
@pytest.mark.parametrize("size", [1, 10**6])
def test_a_banner_before_the_magic_line_is_skipped(banner, size):
    stream = banner + MAGIC + encode_frame({"id": 1})
    assert read(stream, iter(lambda: size, None), skip_banner=True) == [({"id": 1}, b"")]


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (b"DINOUNET-ENGINE 2\n", "version 2"),
        (b"DINOUNET-ENGINE 1\r\n", "line ends"),
        (b"DINOUNET-ENGINE 1 \n" + b"x" * MAX_BANNER, "first line"),
        (b"x" * (MAX_BANNER + 100), "first line"),
        (b"x\n" * MAX_BANNER, "first line"),
    ],
)
def test_another_version_a_terminal_or_no_engine_at_all_is_told(stream, message):
    with pytest.raises(ProtocolError, match=message):
        read(stream, iter(lambda: 1000, None), skip_banner=True)


def test_large_volumes_are_read_quickly_and_without_piling_up():
    data = bytes(MAX_DATA)
    stream = b"".join(encode_frame({"id": 1, "data": n}, data) for n in range(40))
    pieces = [stream[at : at + 65536] for at in range(0, len(stream), 65536)]
    reader, count = FrameReader(), 0
    started = time.perf_counter()
    for piece in pieces:
        reader.feed(piece)
        for frame in reader:
            count += len(frame.data)
    assert count == 40 * MAX_DATA
    assert time.perf_counter() - started < 1.0  # 40 MB; hundredths of a second where nothing else runs
    tracemalloc.start()
    for piece in pieces:
        reader.feed(piece)
        for _ in reader:
            pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * MAX_DATA


def test_thousands_of_mutated_streams_end_in_frames_or_in_a_protocol_error():
    rng = random.Random(20)
    tracemalloc.start()
    for _ in range(5000):
        stream = bytearray(b"".join(encode_frame(*frame) for frame in rng.choices(FRAMES, k=3)))
        for _ in range(rng.randint(1, 8)):
            at = rng.randrange(len(stream) + 1)
            action = rng.randrange(4)
            if action == 0:
                stream[at : at + rng.randint(1, 30)] = b""
            elif action == 1:
                stream[at:at] = rng.randbytes(rng.randint(1, 30))
            elif action == 2 and at < len(stream):
                stream[at] = rng.randrange(256)
            else:
                stream[at:at] = rng.choice([b"\n", b"{", b'"bytes":', b"[" * 3000, b"9" * 400, b"\\ud800", b"NaN"])
        with suppress(ProtocolError):
            read(bytes(stream), iter(lambda: rng.choice((1, 5, 1000, 70_000)), None))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 << 20
