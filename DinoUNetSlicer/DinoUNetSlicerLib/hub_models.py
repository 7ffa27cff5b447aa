"""Models from the Hugging Face Hub: the engine, which has what that needs, downloads them, and Slicer adds what comes
through the pipe to the user's own library. So it does not matter on which computer the engine runs."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import qt
import slicer

from DinoUNetCore.weights import library, license
from DinoUNetSlicerLib.engine import Engine, Event
from DinoUNetSlicerLib.engine_command import EngineCommand
from DinoUNetSlicerLib.errors import Cancelled, UserError, error_of


def add_to_library(source: Path) -> str:
    """Copy a folder or zip into the library, under a wait cursor: it is read twice. Returns the model's name there."""
    slicer.app.setOverrideCursor(qt.Qt.WaitCursor)
    try:
        return library.add(source).name
    finally:
        slicer.app.restoreOverrideCursor()


class HubDownload:
    """Brings one model into the library; ends with exactly one call of on_done (its name there) or on_error (Cancelled
    after `cancel`).

    source: "hf:owner/name". on_progress: called with how much of it (0..1) the engine has.
    """

    def __init__(
        self,
        source: str,
        on_done: Callable[[str], None],
        on_error: Callable[[UserError], None],
        on_progress: Callable[[float], None] = lambda fraction: None,
    ):
        self.source, self.on_done, self.on_error, self.on_progress = source, on_done, on_error, on_progress
        self._folder: tempfile.TemporaryDirectory | None = None  # while data arrives
        self._missing = 0  # bytes
        self._engine: Engine | None = None
        self._identity = 0
        self._cancelled = self._ended = False

    def start(self, engine: Engine, command: EngineCommand) -> None:
        """Send the request; UserError if other work is under way at another engine."""
        fields = {"request": "models", "action": "download", "source": self.source}
        fields["accept_license"] = license.is_accepted()
        self._engine = engine
        self._identity = engine.request(command, fields, self._on_event)

    def cancel(self) -> None:
        """Ask for the end; it is reported within about a second."""
        self._cancelled = True
        self._engine.cancel(self._identity)

    def _on_event(self, event: Event, data: bytes) -> None:
        if self._ended:  # after a disk that is full, more may still arrive
            return
        try:
            self._take(event, data)
        except UserError as error:
            self._fail(error)
        except OSError as error:
            folder = tempfile.gettempdir() if self._folder is None else self._folder.name
            reason = error.strerror or error
            self._fail(UserError(f"{self.source} cannot be written to {folder}: {reason}; make room there."))

    def _take(self, event: Event, data: bytes) -> None:
        kind = event.get("event")
        if kind == "progress" and event.get("stage") == "downloading":
            self.on_progress(float(event["fraction"]))
        elif kind == "error":
            raise Cancelled("cancelled; no model was added.") if self._cancelled else error_of(event)
        elif kind == "result":
            self._folder = tempfile.TemporaryDirectory(prefix="DinoUNet-", ignore_cleanup_errors=True)
            self._missing = event["total_bytes"]
        elif kind == "data":
            archive = Path(self._folder.name) / "model.zip"
            with archive.open("ab") as file:
                file.write(data)
            self._missing -= len(data)
            if self._missing <= 0:
                if self._cancelled:  # all of it was on its way already
                    raise Cancelled("cancelled; no model was added.")
                name = add_to_library(archive)
                self._end()
                self.on_done(name)

    def _fail(self, error: UserError) -> None:
        self._end()
        self._engine.cancel(self._identity)  # it may have more to send
        self.on_error(error)

    def _end(self) -> None:
        self._ended = True
        if self._folder is not None:
            self._folder.cleanup()
