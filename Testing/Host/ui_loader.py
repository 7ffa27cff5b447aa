"""qt.QUiLoader: .ui files with custom widgets from the doubles, and strict about what Qt silently accepts."""

# ruff: noqa: N802  # the names are those of Slicer, CTK or Qt

import xml.etree.ElementTree as ElementTree

from PySide6 import QtCore, QtUiTools

from Host.pythonqt.classes import ignoring_new_attributes
from Host.widgets.registry import find_double

_meta_object = QtCore.QObject.metaObject


class UiFileError(RuntimeError):
    """Something in a .ui file that Slicer would not understand: it warns or ignores, the host raises."""


class UiLoader(QtUiTools.QUiLoader):
    """Loads a .ui file. Raises UiFileError for

    - custom widgets that there is no double for,
    - properties that the class does not have (Qt adds them as dynamic ones; those say stdset="0"),
    - connections whose signal, slot, sender or receiver does not exist.
    """

    def createWidget(self, class_name, parent=None, name=""):
        """The widget of one element, a double where the class is not Qt's own."""
        double = find_double(class_name)
        if double is None:
            return super().createWidget(class_name, parent, name)
        widget = double(parent)
        widget.setObjectName(name)
        return widget

    def load(self, file, parent=None):
        """The top widget of an open QFile; None if Qt cannot make it."""
        root = ElementTree.fromstring(bytes(file.readAll().data()))
        file.close()
        _check_custom_widgets(root)
        connections = [connection for group in root.findall("connections") for connection in group]
        for group in root.findall("connections"):
            root.remove(group)
        buffer = QtCore.QBuffer()
        buffer.setData(QtCore.QByteArray(ElementTree.tostring(root)))
        buffer.open(QtCore.QIODevice.ReadOnly)
        with ignoring_new_attributes():
            top = super().load(buffer, parent)
        if top is not None:
            named = {child.objectName: child for child in [top, *top.findChildren()] if child.objectName}
            _check_properties(root, named)
            for connection in connections:
                _connect(named, *(connection.findtext(part, "") for part in ("sender", "signal", "receiver", "slot")))
        return top


def _check_custom_widgets(root: ElementTree.Element) -> None:
    names = [element.findtext("class", "") for element in root.iter("customwidget")]
    unknown = [name for name in names if find_double(name) is None]
    if unknown:
        raise UiFileError(f"the host has no double for {', '.join(unknown)}")


def _check_properties(root: ElementTree.Element, named: dict) -> None:
    for element in root.iter("widget"):
        widget = named.get(element.get("name"))
        if widget is None:
            continue
        for entry in element.findall("property"):
            name = entry.get("name", "")
            if entry.get("stdset") != "0" and _meta_object(widget).indexOfProperty(name) < 0:
                raise UiFileError(f"{element.get('class')} {element.get('name')} has no property {name}")


def _connect(named: dict, sender: str, signal: str, receiver: str, slot: str) -> None:
    text = f"the connection {sender}.{signal} -> {receiver}.{slot}"
    missing = [name for name in (sender, receiver) if name not in named]
    if missing:
        raise UiFileError(f"{text}: there is no {missing[0]}")
    function = getattr(named[receiver], slot.split("(")[0], None)
    if not callable(function):
        raise UiFileError(f"{text}: there is no such slot on {type(named[receiver]).__name__}")
    count = 0 if slot.endswith("()") else slot.count(",") + 1
    try:
        named[sender].connect(signal, _taking(count, function))
    except RuntimeError as error:
        raise UiFileError(f"{text}: {error}") from error


def _taking(count: int, function):
    return lambda *arguments: function(*arguments[:count])
