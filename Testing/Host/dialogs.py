"""Modal dialogs that never wait: each is recorded, and answered from a table that the test fills.

Without an answer a message is acknowledged, and a question, a file dialog or an input dialog is declined: the answer is
No, Cancel or an empty text.
"""

from collections import deque
from dataclasses import dataclass
from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

_MessageBox = QtWidgets.QMessageBox
_ICONS = {
    _MessageBox.NoIcon: "message",
    _MessageBox.Information: "information",
    _MessageBox.Warning: "warning",
    _MessageBox.Critical: "critical",
    _MessageBox.Question: "question",
}
_AFFIRMATIVE = (_MessageBox.Ok, _MessageBox.Close)
_DECLINING = (_MessageBox.No, _MessageBox.Cancel, _MessageBox.Close, _MessageBox.Ok)


@dataclass(frozen=True)
class Dialog:
    """One dialog that would have been shown.

    kind: "information", "warning", "critical", "question" or "message" for message boxes, else the function's or the
    class's name ("getOpenFileName", "QDialog", "openUrl"). text: what it says; details: a message box's detailed text.
    """

    kind: str
    title: str
    text: str
    details: str = ""


class Dialogs:
    """All dialogs of a test in order (`shown`), and the answers that are waiting."""

    def __init__(self):
        self.shown: list[Dialog] = []
        self._answers: dict[str, deque[Any]] = {}

    def answer(self, kind: str, *values: Any) -> None:
        """Answer the next dialogs of a kind: with buttons, texts, or callables that are given the dialog."""
        self._answers.setdefault(kind, deque()).extend(values)

    def texts(self, kind: str | None = None) -> list[str]:
        """What the dialogs (of a kind) said."""
        return [dialog.text for dialog in self.shown if kind in (None, dialog.kind)]

    def unused_answers(self) -> list[str]:
        """The kinds for which answers are left: dialogs that a test expected and that never came."""
        return [kind for kind, values in self._answers.items() if values]

    def clear(self) -> None:
        """Forget all dialogs and answers."""
        self.shown.clear()
        self._answers.clear()

    def show(self, dialog: Dialog, default: Any) -> Any:
        """Record a dialog and answer it."""
        self.shown.append(dialog)
        waiting = self._answers.get(dialog.kind)
        value = waiting.popleft() if waiting else default
        return value(dialog) if callable(value) else value


DIALOGS = Dialogs()


def install() -> None:
    """Replace everything of Qt that waits for the user."""
    for kind in ("information", "warning", "critical", "question"):
        setattr(_MessageBox, kind, staticmethod(_message(kind)))
    _MessageBox.exec = _MessageBox.exec_ = _run_message_box
    for cls in (QtWidgets.QDialog, QtWidgets.QFileDialog, QtWidgets.QInputDialog, QtWidgets.QProgressDialog):
        cls.exec = cls.exec_ = _run_dialog
    QtWidgets.QMenu.exec = QtWidgets.QMenu.exec_ = _run_menu
    for name in ("getOpenFileName", "getSaveFileName", "getExistingDirectory"):
        setattr(QtWidgets.QFileDialog, name, staticmethod(_pick(name, "")))
    QtWidgets.QFileDialog.getOpenFileNames = staticmethod(_pick("getOpenFileNames", ()))
    for name in ("getText", "getItem", "getMultiLineText", "getInt", "getDouble"):
        setattr(QtWidgets.QInputDialog, name, staticmethod(_ask(name)))
    QtGui.QDesktopServices.openUrl = staticmethod(_open_url)


def _message(kind: str):
    def show(parent, title, text, buttons=_MessageBox.Ok, default=_MessageBox.NoButton, /):
        return DIALOGS.show(Dialog(kind, title, text), _usual_answer(kind, buttons, default))

    return show


def _run_message_box(self) -> int:
    kind = _ICONS[self.icon]
    dialog = Dialog(kind, self.windowTitle.strip(), self.text, self.detailedText)
    return DIALOGS.show(dialog, _usual_answer(kind, self.standardButtons, _MessageBox.NoButton))


def _usual_answer(kind: str, buttons: int, default: int) -> int:
    if default != _MessageBox.NoButton:
        return default
    order = _DECLINING if kind == "question" else _AFFIRMATIVE + _DECLINING
    return next((button for button in order if button & buttons), _MessageBox.Ok)


def _run_dialog(self) -> int:
    return DIALOGS.show(Dialog(type(self).__name__, self.windowTitle, ""), QtWidgets.QDialog.Rejected)


def _run_menu(self, *arguments) -> QtGui.QAction | None:
    texts = ", ".join(action.text for action in self.actions())
    chosen = DIALOGS.show(Dialog("QMenu", self.title, texts), None)
    action = next((action for action in self.actions() if action.text == chosen), None)
    if action is not None:
        action.trigger()
    return action


def _pick(name: str, nothing: Any):
    # PythonQt has no out-parameters: the path alone is returned.
    def pick(parent=None, title="", folder="", filters="", /, *options):
        return DIALOGS.show(Dialog(name, title, filters), nothing)

    return pick


def _ask(name: str):
    def ask(parent, title, label, /, *options):
        return DIALOGS.show(Dialog(name, title, label), 0 if name in ("getInt", "getDouble") else "")

    return ask


def _open_url(url, /) -> bool:
    text = QtCore.QUrl(url).toString()
    return bool(DIALOGS.show(Dialog("openUrl", "", text), True))
