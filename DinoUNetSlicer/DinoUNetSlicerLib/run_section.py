"""The button that segments and cancels, the progress bar, the sentence below it, and the log."""

import html
import logging
import time
from collections.abc import Callable
from typing import Any

import qt
import slicer

from DinoUNetCore.weights import license
from DinoUNetSlicerLib import license_dialog, segmenting
from DinoUNetSlicerLib.errors import Cancelled, LicenseNotAccepted, UserError
from DinoUNetSlicerLib.job import Job, Order
from DinoUNetSlicerLib.models import Model
from DinoUNetSlicerLib.segmentations import Result
from DinoUNetSlicerLib.wording import Expectation, doing, time_left, verdict

STEPS = 1000  # of the progress bar


class RunSection:
    """click: called when the button is pressed and nothing runs; it may call `start`."""

    def __init__(self, ui, click: Callable[[], None]):
        self.ui, self.click = ui, click
        self.running = False
        self._job: Job | None = None
        self._possible = False
        self._expectation = Expectation()
        self._warnings: list[str] = []
        ui.segmentButton.connect("clicked(bool)", self._pressed)

    def start(self, order: Order, volume: Any, model: Model, output: Any, on_shown: Callable[[Any], None]) -> None:
        """Run an order and show its result in the node `output` (None: a new one); on_shown gets the node."""
        self.log(f"Segmenting {volume.GetName()} with {model.name}.")
        self._show_running(True)

        def failed(error: UserError) -> None:
            self._show_running(False)
            self.explain(error, lambda: self.start(order, volume, model, output, on_shown))

        try:
            job = segmenting.start(
                order,
                lambda result: self._finished(result, volume, model, output, on_shown),
                failed,
                self._progress,
                self._logged,
            )
        except UserError as error:
            failed(error)
            return
        except Exception:
            logging.exception("the segmentation could not be started")
            failed(UserError("the segmentation could not be started; Slicer's error log says more."))
            return
        if self.running:  # an engine that cannot be started has reported before `start` returned
            self._job = job

    def cancel(self) -> None:
        """Cancel what runs; it is reported within about a second."""
        if self._job is not None:
            self.ui.segmentButton.setEnabled(False)
            self.say("Cancelling ...", False)
            self._job.cancel()

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
            qt.QTimer.singleShot(0, lambda: self._ask_for_license(error, again))  # not within an event of the engine
        else:
            self.say(str(error), not isinstance(error, Cancelled))

    def _ask_for_license(self, error: UserError, again: Callable[[], None]) -> None:
        if license_dialog.ask():
            again()
        else:
            self.say(str(error), True)

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
        self.ui.progressBar.setValue(round(STEPS * fraction))
        left = time_left(seconds_left)
        self.ui.progressBar.format = f"%p%  {left}" if left else "%p%"
        self.show(f"{doing(stage)} {self._expectation.in_all(seconds_left, stage)}".rstrip())

    def _logged(self, level: str, text: str) -> None:
        self.log(f"Warning: {text}" if level == "warning" else text)
        if level == "warning":
            logging.warning(text)
            self._warnings.append(text)
            self.ui.warningLabel.setText("\n".join(self._warnings))
            self.ui.warningLabel.setVisible(True)

    def _finished(
        self, result: Result, volume: Any, model: Model, output: Any, on_shown: Callable[[Any], None]
    ) -> None:
        slicer.app.setOverrideCursor(qt.Qt.WaitCursor)
        try:
            node = segmenting.show(result, volume, model, output)
        except UserError as error:
            self._lost(str(error))
            return
        except Exception:
            logging.exception("the result could not be put into the scene")
            self._lost("the result could not be put into the scene; Slicer's error log says more.")
            return
        finally:
            slicer.app.restoreOverrideCursor()
        self._show_running(False)
        self.say(verdict(result), False)
        on_shown(node)

    def _lost(self, sentence: str) -> None:
        self._show_running(False)
        self.say(sentence, True)

    def _show_running(self, running: bool) -> None:
        self.running = running
        if running:
            self._expectation = Expectation()
            self._warnings = []
            self.ui.warningLabel.setVisible(False)
        else:
            self._job = None
        self.ui.progressBar.setValue(0)
        self.ui.progressBar.setVisible(running)
        self.ui.segmentButton.text = "Cancel" if running else "Segment"
        self.ui.segmentButton.setEnabled(running or self._possible)
