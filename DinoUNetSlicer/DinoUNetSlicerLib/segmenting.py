"""Segmenting nodes: what the panel's button and the console's functions have in common."""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import qt
import slicer

from DinoUNetSlicerLib import surfaces
from DinoUNetSlicerLib.engine import Engine
from DinoUNetSlicerLib.engine_command import load_choice, make_command
from DinoUNetSlicerLib.errors import UserError
from DinoUNetSlicerLib.job import Job, Order
from DinoUNetSlicerLib.models import Model
from DinoUNetSlicerLib.options import Options
from DinoUNetSlicerLib.regions import box_of
from DinoUNetSlicerLib.segmentations import Result, check_output, fill, new_segmentation
from DinoUNetSlicerLib.volumes import channels_of, without_alpha

OnProgress = Callable[[float, float | None, str], None]

EVENTS_MS = 20  # for one round of events: what the engine sends arrives as many of them

_ENGINE = Engine()


def shared_engine() -> Engine:
    """The one engine of this Slicer: warm for the panel and the console alike."""
    return _ENGINE


def make_order(volumes: Sequence[Any], model: Model, roi: Any = None, options: Options | None = None) -> Order:
    """What to ask the engine for these volume nodes, one per channel or one with colours; UserErrors name the node."""
    volumes = [volume for volume in volumes if volume is not None]
    if not volumes:
        raise UserError("there is no volume to segment; choose one.")
    channels = channels_of(volumes)
    region = None if roi is None else box_of(roi, volumes[0])
    if model.takes_colors:
        channels = [without_alpha(channel) for channel in channels]
    return Order(model, channels, region, (options or Options()).fields)


def start(
    order: Order,
    on_result: Callable[[Result], None],
    on_error: Callable[[UserError], None],
    on_progress: OnProgress = lambda *_: None,
    on_log: Callable[[str, str], None] = lambda *_: None,
) -> Job:
    """Start the order on the shared engine with the command that the user chose."""
    job = Job(_ENGINE, make_command(*load_choice()), order, on_result, on_error, on_progress, on_log)
    job.start()
    return job


def run(order: Order, on_progress: OnProgress = lambda *_: None) -> Result:
    """Run the order to its end while Slicer stays alive; raises its UserError."""
    ended: list[Result | UserError] = []

    def log(level: str, text: str) -> None:
        logging.log(logging.WARNING if level == "warning" else logging.INFO, text)

    job = start(order, ended.append, ended.append, on_progress, log)
    try:
        wait_until(lambda: bool(ended))
    except BaseException:
        job.cancel()
        raise
    if isinstance(ended[0], UserError):
        raise ended[0]
    return ended[0]


def wait_until(condition: Callable[[], bool]) -> None:
    """Handle events until the condition holds."""
    while not condition():
        slicer.app.processEvents(qt.QEventLoop.AllEvents, EVENTS_MS)
        time.sleep(0.002)  # leave the processor to the engine


def show(
    result: Result,
    volume: Any,
    model: Model,
    output: Any = None,
    make_surfaces: Callable[[Any], None] = surfaces.make,
) -> Any:
    """Put a result into the segmentation node `output`, or into a new one; returns the node.

    make_surfaces: makes the surfaces that an output already shows (of `surfaces`: now, or by and by).

    UserError, with nothing changed, if the volume or the output have left the scene meanwhile.
    """
    for node in (volume, output):
        if node is not None and not slicer.mrmlScene.IsNodePresent(node):
            raise UserError(f"{node.GetName()} is no longer in the scene; the result was dropped.")
    if output is not None:
        check_output(output, volume)
    node = output or new_segmentation(f"{volume.GetName()} {model.name}")
    fill(node, volume, result, make_surfaces)
    return node
