"""The client of the engine: one process that is fed with requests and answers with events.

The protocol is written down in DinoUNetCore/engine/PROTOCOL.md. All happens in Slicer's event loop: nothing here
waits, and data is handed to the process as fast as it takes it.
"""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import qt
import slicer

from DinoUNetCore.engine.protocol import FrameReader, ProtocolError, encode_frame
from DinoUNetSlicerLib.engine_command import EngineCommand
from DinoUNetSlicerLib.errors import UserError

UNDER_WAY = 4 << 20  # bytes handed to the process ahead of what it has taken: a cancel never waits behind more
PATIENCE_MS = 1000  # after a cancel; then the process is ended
SHUTDOWN_MS = 500
ERRORS_KEPT = 20_000  # characters of the engine's standard error
LAUNCHERS_WORDS = "exit abnormally - Report the problem."  # PythonSlicer's, when the Python that it starts has crashed

Event = dict[str, Any]
OnEvent = Callable[[Event, bytes], None]


class Engine:
    """Starts the process when it is first asked something, keeps it warm, and starts it again after it has ended.

    A request's callback gets every event with its id as (fields, data). The last one is a `result` (or the `data`
    that completes it) or an `error`; also when the process dies, cannot be started or breaks the protocol: then the
    code is "engine" and the message says what happened.
    """

    def __init__(self):
        self._process = None
        self._command: EngineCommand | None = None
        self._reader: FrameReader | None = None
        self._last_id = 0
        self._callbacks: dict[int, OnEvent] = {}
        self._remaining: dict[int, int] = {}  # bytes that are still to come after a result
        self._sending: deque[tuple[int, Iterator[tuple[int, bytes]]]] = deque()  # id, numbered pieces
        self._under_way = 0
        self._errors = ""
        self._ends_with_slicer = False

    @property
    def running(self) -> bool:
        """Whether there is a process."""
        return self._process is not None

    @property
    def busy(self) -> bool:
        """Whether a request has not ended yet."""
        return bool(self._callbacks)

    @property
    def error_output(self) -> str:
        """The end of what the engine wrote on its standard error."""
        return self._errors

    def request(
        self, command: EngineCommand, fields: Event, on_event: OnEvent, data: Iterator[bytes] | None = None
    ) -> int:
        """Send a request (its fields without id) and its data in pieces of at most 1 MiB; returns its id.

        A UserError that comes instead of a piece ends the request. Starts the process where none runs or another
        command is asked for; UserError if other work is under way there.
        """
        if self._process is not None and command != self._command:
            if self.busy:
                raise UserError("the engine is at work; wait or cancel before choosing another one.")
            self.stop()
        self._last_id += 1
        identity = self._last_id
        frame = encode_frame({**fields, "id": identity})
        self._callbacks[identity] = on_event
        if self._process is None:
            try:
                self._start(command)
            except BaseException:
                del self._callbacks[identity]
                raise
        if self._process is None:  # it could not be started, and the callback knows
            return identity
        self._write(frame)
        if data is not None:
            self._sending.append((identity, enumerate(data)))
            self._send_more()
        return identity

    def cancel(self, identity: int) -> None:
        """Ask the engine to drop a request; if it does not within a second, end the process."""
        if identity not in self._callbacks:
            return
        self._drop_data(identity)
        self._write_cancel(identity)
        process = self._process

        def insist() -> None:
            if identity in self._callbacks and self._process is process:
                self._end("cancelled", "cancelled.")

        qt.QTimer.singleShot(PATIENCE_MS, insist)

    def stop(self) -> None:
        """End the process; requests under way end with an error. Nothing happens if there is none."""
        if self._process is not None:
            self._end("engine", "the engine was ended.", gently=not self.busy)

    def _start(self, command: EngineCommand) -> None:
        self._command, self._reader, self._errors = command, FrameReader(skip_banner=True), ""
        self._under_way = 0
        if not self._ends_with_slicer:
            self._ends_with_slicer = bool(slicer.app.connect("aboutToQuit()", self.stop))
        # With a parent it belongs to Qt: Python must not delete it in the middle of one of its signals.
        process = qt.QProcess(slicer.app)
        process.setProcessEnvironment(command.environment)
        process.setProgram(command.program)
        process.setArguments(list(command.arguments))
        process.connect("readyReadStandardOutput()", self._read)
        process.connect("readyReadStandardError()", self._read_errors)
        process.connect("bytesWritten(qint64)", self._written)
        process.connect("finished(int,QProcess::ExitStatus)", self._finished)
        process.connect("errorOccurred(QProcess::ProcessError)", self._failed)
        self._process = process
        process.start()

    def _write(self, frame: bytes) -> None:
        self._under_way += len(frame)
        self._process.write(qt.QByteArray(frame))

    def _write_cancel(self, identity: int) -> None:
        self._last_id += 1
        self._write(encode_frame({"request": "cancel", "target": identity, "id": self._last_id}))

    def _written(self, count: int) -> None:
        self._under_way -= count
        self._send_more()

    def _send_more(self) -> None:
        while self._sending and self._under_way < UNDER_WAY and self._process is not None:
            identity, pieces = self._sending[0]
            try:
                number, piece = next(pieces, (0, None))
            except UserError as error:  # what is sent cannot be read any more
                self._give_up(identity, str(error))
                continue
            if piece is None:
                self._sending.popleft()
            else:
                self._write(encode_frame({"id": identity, "data": number}, piece))

    def _read(self) -> None:
        process = self._process
        if process is None:
            return
        try:
            self._reader.feed(process.readAllStandardOutput().data())
            for frame in self._reader:
                self._take(frame.fields, frame.data)
                if self._process is not process:  # a callback has ended it
                    return
        except ProtocolError as error:
            self._end("engine", f"the engine's answer is not understood ({error}); check its command under Advanced.")

    def _take(self, fields: Event, data: bytes) -> None:
        identity = fields.get("id")
        callback = self._callbacks.get(identity)
        if fields.get("event") == "error" and identity is None:
            self._end("engine", f"the engine has ended: {fields.get('message')}")
            return
        if callback is None:
            return
        event = fields.get("event")
        if event == "error":
            self._forget(identity)
        elif event == "result":
            self._remaining[identity] = int(fields.get("total_bytes") or 0)
        elif event == "data":
            self._remaining[identity] = self._remaining.get(identity, 0) - len(data)
        if event in ("result", "data") and self._remaining[identity] <= 0:
            self._forget(identity)
        callback(fields, data)

    def _give_up(self, identity: int, message: str) -> None:
        """End a request from this side."""
        callback = self._callbacks[identity]
        self._forget(identity)
        self._write_cancel(identity)
        callback({"id": identity, "event": "error", "code": "engine", "message": message}, b"")

    def _forget(self, identity: int) -> None:
        self._callbacks.pop(identity, None)
        self._remaining.pop(identity, None)
        self._drop_data(identity)

    def _drop_data(self, identity: int) -> None:
        self._sending = deque(item for item in self._sending if item[0] != identity)

    def _read_errors(self) -> None:
        if self._process is not None:
            text = bytes(self._process.readAllStandardError().data()).decode("utf-8", "replace")
            self._errors = (self._errors + text)[-ERRORS_KEPT:]

    def _finished(self, code: int, status: int) -> None:
        if self._process is None:
            return
        self._read()  # what it said last
        self._read_errors()
        if self._process is not None:
            self._end("engine", f"the engine has ended unexpectedly (exit code {code}){self._reason(status)}")

    def _failed(self, error: int) -> None:
        if self._process is not None and int(error) == 0:  # QProcess::FailedToStart
            self._end("engine", f"the engine cannot be started: {self._command.program}; check it under Advanced.")

    def _reason(self, status: int) -> str:
        lines = [line.strip() for line in self._errors.splitlines() if line.strip()]
        words = [line for line in lines if LAUNCHERS_WORDS not in line]
        crashed = int(status) == 1 or words != lines  # QProcess::CrashExit
        memory = ", perhaps as memory ran out" if crashed else ""
        return f"{memory}: {words[-1]}" if words else f"{memory}; try again, or look into the log."

    def _end(self, code: str, message: str, gently: bool = False) -> None:
        """End the process, and with it all requests."""
        process, self._process = self._process, None
        callbacks, self._callbacks = self._callbacks, {}
        self._remaining, self._under_way = {}, 0
        self._sending.clear()
        process.blockSignals(True)
        if process.state() != qt.QProcess.NotRunning:
            process.closeWriteChannel()  # for the engine, the end
            if not (gently and process.waitForFinished(SHUTDOWN_MS)):
                process.kill()
                process.waitForFinished(SHUTDOWN_MS)
        process.deleteLater()
        for identity, callback in callbacks.items():
            callback({"id": identity, "event": "error", "code": code, "message": message}, b"")
