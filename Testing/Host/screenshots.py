"""Pictures of widgets, alone or beside the views as in the application's window."""

from pathlib import Path

import numpy as np
from PySide6 import QtGui, QtWidgets

from Host.event_loop import process_events
from Host.views.rendering import four_views, save_png


def save_widget(widget: QtWidgets.QWidget, path: str | Path, width: int = 500) -> None:
    """Save a widget, for example a module's panel, as a PNG: `width` pixels wide and as high as it needs."""
    save_png(_picture(widget, width), path)


def save_window(
    panel: QtWidgets.QWidget, path: str | Path, size: tuple[int, int] = (1280, 800), width: int = 420, **views
) -> None:
    """Save a PNG like the application's window: a module's panel at the left, four views beside it.

    size: of the picture, width: of the panel, in pixels. views: for Host.views.rendering.four_views.
    """
    left = _picture(panel, width, size[1])
    right = four_views((size[0] - left.shape[1], left.shape[0]), **views)
    save_png(np.concatenate([left, right], axis=1), path)


def _picture(widget: QtWidgets.QWidget, width: int, height: int | None = None) -> np.ndarray:
    widget.resize(width, 10)
    widget.show()
    process_events()
    widget.resize(width, height or _needed_height(widget, width))
    process_events()
    image = widget.grab().toImage().convertToFormat(QtGui.QImage.Format_RGB888)
    rows = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), image.bytesPerLine())
    return rows[:, : 3 * image.width()].reshape(image.height(), image.width(), 3).copy()


def _needed_height(widget: QtWidgets.QWidget, width: int) -> int:
    layout = widget.layout()
    if layout is not None and layout.hasHeightForWidth():
        return layout.totalHeightForWidth(width)
    return widget.sizeHint.height()
