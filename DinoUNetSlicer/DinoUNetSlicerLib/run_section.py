"""The button that segments and cancels, the progress bar, the sentence below it, and the log.

What the panel has the engine do, it does here, one thing at a time: so the button cancels all of it.
"""

import html
import logging
import time
from collections.abc import Callable
from typing import Any

import qt
import slicer

from DinoUNetCore.weights import license
from DinoUNetSlicerLib import license_dialog, segmenting, surfaces
from DinoUNetSlicerLib.errors import Cancelled, LicenseNotAccepted, UserError
from DinoUNetSlicerLib.job import Order
from DinoUNetSlicerLib.models import Model
from DinoUNetSlicerLib.segmentations import Result
from DinoUNetSlicerLib.wording import Expectation, doing, time_left, verdict

STEPS = 1000  # of the progress bar

Start = Callable[[Callable[[Any], None], Callable[[UserError], None]], Callable[[], None]]
"""Starts some work, given what to call when it is done and when it has failed; returns what cancels it."""


class RunSection:
    """click: called when the button is pressed and nothing runs; it may call `segment`."""

    def __init__(self, ui, click: Callable[[], None]):
        self.ui, self.click = ui, click
        self.running = False
        self._cancel: Callable[[], None] | None = None
        self._uses_scene = False
        self._possible = False
        self._expectation = Expectation()
        self._warnings: list[str] = []
        ui.segmentButton.connect("clicked(bool)", self._pressed)

    def begin(self, sentence: str, start: Start, on_done: Callable[[Any], None], uses_scene: bool = False) -> None:
        """Start some work that the button cancels, unless other work is under way.

        sentence: what it is. on_done: gets what came of it. uses_scene: whether it ends with the scene.
        """
        if self.running:
            self.say("the engine is at work; wait until it is done, or cancel it first.", True)
            return
        self.say(sentence, False)
        self._show_running(True)
        self._uses_scene = uses_scene

        def done(outcome: Any) -> None:
            self._show_running(False)
            on_done(outcome)

        def failed(error: UserError) -> None:
            self._show_running(False)
            self.explain(error, lambda: self.begin(sentence, start, on_done, uses_scene))

        try:
            cancel = start(done, failed)
        except UserError as error:
            failed(error)
            return
        except Exception:
            logging.exception("the engine could not be asked")
            failed(UserError("the work could not be started; Slicer's error log says more."))
            return
        if self.running:  # an engine that cannot be started has reported before `start` returned
            self._cancel = cancel

    def segment(self, order: Order, volume: Any, model: Model, output: Any, on_shown: Callable[[Any], None]) -> None:
        """Run an order and show its result in the node `output` (None: a new one); on_shown gets the node."""

        def start(on_done: Callable[[Result], None], on_error: Callable[[UserError], None]) -> Callable[[], None]:
            return segmenting.start(order, on_done, on_error, self._progress, self._logged).cancel

        sentence = f"Segmenting {volume.GetName()} with {model.name}."
        self.begin(sentence, start, lambda result: self._put(result, volume, model, output, on_shown), True)

    def cancel(self) -> None:
        """Cancel what runs; it is reported within about a second."""
        if self._cancel is not None:
            self.ui.segmentButton.setEnabled(False)
            self.say("Cancelling ...", False)
            self._cancel()

    def scene_closes(self) -> None:
        """Cancel what runs if it cannot go on without the scene."""
        if self._uses_scene:
            self.cancel()

    def progress(self, fraction: float, sentence: str) -> None:
        """Show how much (0..1) is done, and of what."""
        self.ui.progressBar.setValue(round(STEPS * fraction))
        self.show(sentence)

    def allow(self, possible: bool, reason: str) -> None:
        """Whether there is all that a segmentation needs; the reason is the button's tooltip."""
        self._possible = possible
        self.ui.segmentButton.setToolTip(reason)
        if not self.running:
            self.ui.segmentButton.setEnabled(possible)

    def say(self, sentence: str, is_error: bool) -> None:
        """Show a sentence below the button, and keep it in the log."""
        self.show(sentence, is_error)
        self.log(sentence)

    def show(self, sentence: str, is_error: bool = False) -> None:
        """Show a sentence below the button."""
        text = html.escape(sentence[:1].upper() + sentence[1:])
        color = ' style="color: #c0392b"' if is_error else ""
        self.ui.statusLabel.setText(f"<span{color}>{text}</span>")

    def explain(self, error: UserError, again: Callable[[], None]) -> None:
        """Say why something did not work; if only a license is in the way, ask for it and do it again."""
        if isinstance(error, LicenseNotAccepted) and not license.is_accepted():
            qt.QTimer.singleShot(0, lambda: self._ask_for_license(again))  # not within an event of the engine
        else:
            self.say(str(error), not isinstance(error, Cancelled))

    def _ask_for_license(self, again: Callable[[], None]) -> None:
        if license.is_accepted() or license_dialog.ask():  # it may have been accepted meanwhile
            again()
        else:
            self.say(f"nothing was downloaded: the {license.NAME} was not accepted.", True)

    def log(self, text: str) -> None:
        self.ui.logText.appendPlainText(f"{time.strftime('%H:%M:%S')}  {text}")

    def _pressed(self) -> None:
        if self.running:
            self.cancel()
            return
        try:
            self.click()
        except UserError as error:
            self.say(str(error), True)

    def _progress(self, fraction: float, seconds_left: float | None, stage: str) -> None:
        left = time_left(seconds_left)
        self.ui.progressBar.format = f"%p%  {left}" if left else "%p%"
        self.progress(fraction, f"{doing(stage)} {self._expectation.in_all(seconds_left, stage)}".rstrip())

    def _logged(self, level: str, text: str) -> None:
        self.log(f"Warning: {text}" if level == "warning" else text)
        if level == "warning":
            logging.warning(text)
            self._warnings.append(text)
            self.ui.warningLabel.setText("\n".join(self._warnings))
            self.ui.warningLabel.setVisible(True)

    def _put(self, result: Result, volume: Any, model: Model, output: Any, on_shown: Callable[[Any], None]) -> None:
        """Put a result into the scene."""
        slicer.app.setOverrideCursor(qt.Qt.WaitCursor)
        try:
            node = segmenting.show(result, volume, model, output, surfaces.make_by_and_by)
        except UserError as error:
            self.say(str(error), True)
            return
        except Exception:
            logging.exception("the result could not be put into the scene")
            self.say("the result could not be put into the scene; Slicer's error log says more.", True)
            return
        finally:
            slicer.app.restoreOverrideCursor()
        self.say(verdict(result), False)
        on_shown(node)

    def _show_running(self, running: bool) -> None:
        self.running = running
        if running:
            self._expectation = Expectation()
            self._warnings = []
            self.ui.warningLabel.setVisible(False)
        else:
            self._cancel, self._uses_scene = None, False
        self.ui.progressBar.setValue(0)
        self.ui.progressBar.format = "%p%"
        self.ui.progressBar.setVisible(running)
        self.ui.segmentButton.text = "Cancel" if running else "Segment"
        self.ui.segmentButton.setEnabled(running or self._possible)
