"""One segmentation, from the click to the result: asks the engine, gives it what it lacks, collects its answer."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from DinoUNetCore.weights import license
from DinoUNetSlicerLib.engine import Engine, Event
from DinoUNetSlicerLib.engine_command import EngineCommand
from DinoUNetSlicerLib.errors import Cancelled, UserError, error_of
from DinoUNetSlicerLib.models import Model, packed
from DinoUNetSlicerLib.regions import Box
from DinoUNetSlicerLib.segmentations import Result
from DinoUNetSlicerLib.volumes import Channel, pieces


@dataclass(frozen=True)
class Order:
    """What to segment, with what, and how. region: a box of the first channel's voxels, or None. options: as in the
    protocol's `segment` request."""

    model: Model
    channels: list[Channel]
    region: Box | None = None
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        given, wanted = sum(channel.components for channel in self.channels), self.model.channel_names
        if given != len(wanted):
            names = ", ".join(channel.description["name"] for channel in self.channels)
            raise UserError(
                f"{names} has {_channels(given)}, but the model {self.model.name} takes {len(wanted)} "
                f"({', '.join(wanted)}); choose what it was trained on."
            )

    @property
    def request(self) -> Event:
        """The fields of the request, without id."""
        first = self.channels[0].description
        return {
            "request": "segment",
            "model": {"sha256": self.model.sha256},
            "channels": [channel.description for channel in self.channels],
            "dimension": 2 if self.model.is_2d and first["size"][2] == 1 else 3,
            "region": self.region,
            "options": self.options,
            "accept_license": license.is_accepted(),  # the engine's computer may not know of it
        }


class Job:
    """Runs an order; ends with exactly one call of on_result or on_error (Cancelled after `cancel`).

    on_progress: (fraction 0..1, seconds left or None, what is being done). on_log: (level, sentence).
    Callbacks come from Slicer's event loop; only on_error may also come out of `start`, if no engine can be started.
    """

    def __init__(
        self,
        engine: Engine,
        command: EngineCommand,
        order: Order,
        on_result: Callable[[Result], None],
        on_error: Callable[[UserError], None],
        on_progress: Callable[[float, float | None, str], None] = lambda *_: None,
        on_log: Callable[[str, str], None] = lambda *_: None,
    ):
        self.engine, self.command, self.order = engine, command, order
        self.on_result, self.on_error, self.on_progress, self.on_log = on_result, on_error, on_progress, on_log
        self._identity = 0
        self._facts: Event = {}
        self._voxels = bytearray()
        self._cancelled = self._model_sent = False

    def start(self) -> None:
        """Send the request."""
        self.on_progress(0.0, None, "starting" if not self.engine.running else "sending")
        self._identity = self.engine.request(
            self.command, self.order.request, self._on_event, pieces(self.order.channels)
        )

    def cancel(self) -> None:
        """Ask for the end; it is reported within about a second."""
        self._cancelled = True
        self.engine.cancel(self._identity)

    def _on_event(self, event: Event, data: bytes) -> None:
        kind = event.get("event")
        if kind == "progress":
            self.on_progress(float(event["fraction"]), event.get("seconds_left"), str(event.get("stage", "")))
        elif kind == "log":
            self.on_log(str(event.get("level", "info")), str(event.get("text", "")))
        elif kind == "error":
            self._on_failure(event)
        elif kind == "result":
            self._facts = event
        elif kind == "data":
            self._voxels += data
            if len(self._voxels) >= self._facts["total_bytes"]:
                self._finish()

    def _finish(self) -> None:
        if self._cancelled:  # the result was on its way already
            self._on_failure({})
            return
        facts, size = self._facts, self._facts["size"]
        labels = np.frombuffer(self._voxels, dtype=np.dtype(facts["dtype"])).reshape(size[::-1])
        facts["model"] = {"name": self.order.model.name, "sha256": self.order.model.sha256}
        self.on_result(Result(labels, facts["region"], facts))

    def _on_failure(self, event: Event) -> None:
        if self._cancelled:
            self.on_error(Cancelled("cancelled; nothing was changed."))
        elif event.get("code") == "unknown_model" and not self._model_sent:
            self._send_model()
        else:
            self.on_error(error_of(event))

    def _send_model(self) -> None:
        """The engine lacks the bundle: give it, then ask again."""
        self._model_sent = True
        self.on_progress(0.0, None, "sending the model")
        try:
            size, parts = packed(self.order.model)
        except UserError as error:
            self.on_error(error)
            return
        request = {
            "request": "models", "action": "put", "sha256": self.order.model.sha256, "total_bytes": size,
        }  # fmt: skip
        self._identity = self.engine.request(self.command, request, self._on_put, parts)

    def _on_put(self, event: Event, data: bytes) -> None:
        if event.get("event") == "result" and self._cancelled:
            self._on_failure({})
        elif event.get("event") == "result":
            self.start()
        elif event.get("event") == "error":
            self._on_failure({**event, "code": "put"})
        else:
            self._on_event(event, data)


def _channels(count: int) -> str:
    return "1 channel" if count == 1 else f"{count} channels"
