"""A plain client of the engine for tests and benchmarks: a real process, real pipes, and no waiting without an end."""

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from DinoUNetCore.engine.protocol import MAX_DATA, Frame, FrameReader, encode_frame
from DinoUNetCore.volume.volume import Grid

ROOT = Path(__file__).resolve().parents[1]
WORKER = (sys.executable, "-m", "DinoUNetCore.worker")
PATIENCE = 60.0  # seconds for any answer

Described = tuple[dict[str, Any], bytes]


class EngineProcess:
    """Starts an engine. All that it writes is read at once by a thread; with `read` False, from `start_reading` on."""

    def __init__(
        self, command: Sequence[str] = WORKER, environment: Mapping[str, str] | None = None, read: bool = True
    ):
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the process
        paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), **(environment or {})},
        )
        self._last_id = 0
        self._frames: queue.Queue[Frame | Exception | None] = queue.Queue()  # None: the end
        if read:
            self.start_reading()

    @property
    def log(self) -> str:
        """What it wrote on standard error."""
        self._log.seek(0)
        return self._log.read().decode("utf-8", "replace")

    def start_reading(self) -> None:
        """From now on take what it writes."""
        threading.Thread(target=self._read, daemon=True).start()

    def write(self, data: bytes) -> None:
        """Raw bytes; an engine that has ended takes them without complaint."""
        with suppress(OSError):
            self.process.stdin.write(data)
            self.process.stdin.flush()

    def request(self, request: str, **fields: Any) -> int:
        """Send a request; returns its id."""
        self._last_id += 1
        self.write(encode_frame({"id": self._last_id, "request": request, **fields}))
        return self._last_id

    def send_data(self, identity: int, data: bytes, piece: int = MAX_DATA) -> None:
        """Send the data of a request, in pieces of so many bytes."""
        for number, start in enumerate(range(0, len(data), piece)):
            self.write(encode_frame({"id": identity, "data": number}, data[start : start + piece]))

    def next(self, timeout: float = PATIENCE) -> Frame:
        """The next event. EOFError at the end; a broken stream raises what the reader raised."""
        frame = self._frames.get(timeout=timeout)
        if frame is None:
            self._frames.put(None)
            raise EOFError(self.log)
        if isinstance(frame, Exception):
            raise frame
        return frame

    def answer(self, identity: int, timeout: float = PATIENCE) -> "Answer":
        """All events of a request up to its end. Events of others meanwhile are dropped."""
        answer = Answer([], bytearray())
        while not answer.complete:
            frame = self.next(timeout)
            if frame.fields["id"] == identity:
                answer.events.append(frame.fields)
                answer.data += frame.data
        return answer

    def ask(self, request: str, **fields: Any) -> "Answer":
        """Send a request without data and wait for its end."""
        return self.answer(self.request(request, **fields))

    def start_segmentation(self, images: Sequence[Described], model: Mapping[str, str], **more: Any) -> int:
        """Send a segment request and its voxels (see `describe`); returns its id."""
        identity = self.request(**segment_fields([header for header, _ in images], model, **more))
        self.send_data(identity, b"".join(voxels for _, voxels in images))
        return identity

    def segment(self, images: Sequence[Described], model: Mapping[str, str], **more: Any) -> "Answer":
        """Segment and wait for the end."""
        return self.answer(self.start_segmentation(images, model, **more))

    def close(self, timeout: float = 5.0) -> int:
        """Close its input; returns the exit code. subprocess.TimeoutExpired if it lives on."""
        with suppress(OSError):
            self.process.stdin.close()
        return self.process.wait(timeout)

    def end(self) -> None:
        """Make sure that it is gone."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self._log):
            with suppress(OSError):
                stream.close()

    def _read(self) -> None:
        reader = FrameReader(skip_banner=True)
        try:
            while piece := self.process.stdout.read1(1 << 16):
                reader.feed(piece)
                for frame in reader:
                    self._frames.put(frame)
            self._frames.put(None)
        except Exception as error:
            self._frames.put(error)


class Answer:
    """The events of one request, and the bytes of its data frames."""

    def __init__(self, events: list[dict[str, Any]], data: bytearray):
        self.events, self.data = events, data

    @property
    def complete(self) -> bool:
        if not self.events:
            return False
        if self.events[-1]["event"] == "error":
            return True
        results = [event for event in self.events if event["event"] == "result"]
        return bool(results) and len(self.data) >= results[0].get("total_bytes", 0)

    def named(self, kind: str) -> list[dict[str, Any]]:
        """The events of a kind."""
        return [event for event in self.events if event["event"] == kind]

    @property
    def code(self) -> str | None:
        """That of the error, or None."""
        return self.events[-1].get("code")

    @property
    def message(self) -> str:
        return self.events[-1].get("message", "")

    @property
    def result(self) -> dict[str, Any]:
        results = self.named("result")
        assert results, self.events[-1]
        return results[0]

    @property
    def labels(self) -> np.ndarray:
        """The label values of a segmentation, KJI."""
        result = self.result
        return np.frombuffer(self.data, result["dtype"]).reshape(result["size"][::-1])

    @property
    def json(self) -> Any:
        return json.loads(self.data)


def describe(image: sitk.Image, dtype: str | None = None, **more: Any) -> Described:
    """The entry of an image in a segment request, and its voxels, perhaps in another type or byte order. more: replaces
    fields of the entry."""
    array = np.ascontiguousarray(sitk.GetArrayViewFromImage(image), dtype=dtype)
    grid = Grid.of(image)
    header = {
        "name": "the image",
        "dtype": array.dtype.str,
        "components": image.GetNumberOfComponentsPerPixel(),
        "size": grid.size,
        "spacing": grid.spacing,
        "origin": grid.origin,
        "direction": grid.direction,
        "transform": None,
    }
    return header | more, array.tobytes()


def segment_fields(headers: Sequence[Mapping[str, Any]], model: Mapping[str, str], **more: Any) -> dict[str, Any]:
    """The fields of a segment request for the CPU, one thread. more: replaces fields."""
    fields = {
        "request": "segment",
        "model": model,
        "channels": list(headers),
        "dimension": 3,
        "region": None,
        "options": {"device": "cpu", "threads": 1},
    }
    return fields | more
