"""Which widgets can show which parameters, as the developer guide's table of connectors has it."""

import enum
import pathlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from Host.parameter_node.annotations import Choice, Decimals, Maximum, Minimum, SingleStep, WithinRange
from Host.parameter_node.parameters import Parameter

_INT_RANGE = (-(2**31), 2**31 - 1)
_TICKS = {"QSlider", "QSpinBox"}
_NUMBERS = {"QDoubleSpinBox", "ctkSliderWidget", "ctkDoubleSpinBox"}
_NEED_RANGE = {"QSlider", "ctkSliderWidget"}
_CHECKS = {"QCheckBox": "stateChanged(int)", "ctkCheckBox": "stateChanged(int)", "QPushButton": "toggled(bool)"}
_PATHS = {"ctkPathLineEdit": "currentPath", "ctkDirectoryButton": "directory"}


@dataclass
class Binding:
    """The value of a widget. signal: tells when it changes; empty for widgets that only show."""

    widget: Any
    signal: str
    read: Callable[[], Any]
    write: Callable[[Any], None]
    _slots: list[Callable] = field(default_factory=list)

    def on_change(self, slot: Callable[[], None]) -> None:
        """Call the slot when the user, or anybody, changes the widget's value."""
        if self.signal:
            self.widget.connect(self.signal, slot)
            self._slots.append(slot)

    def release(self) -> None:
        """Let the widget go."""
        for slot in self._slots:
            self.widget.disconnect(self.signal, slot)
        self._slots.clear()


def bind(widget, parameter: Parameter) -> Binding:
    """The binding of a widget to a parameter; the widget takes over its range, steps and choices.

    Raises RuntimeError where Slicer has no connector for the two.
    """
    name, kind = type(widget).__name__, parameter.kind
    if kind is bool and name in _CHECKS:
        return _property(widget, "checked", _CHECKS[name])
    if name in ("QComboBox", "ctkComboBox"):
        return _combo_box(widget, parameter)
    if (kind is int and name in _TICKS) or (kind in (int, float) and name in _NUMBERS):
        _take_range(widget, name, parameter)
        return _property(widget, "value", "valueChanged(int)" if name in _TICKS else "valueChanged(double)", kind)
    if kind is str and name == "QLineEdit":
        return _property(widget, "text", "textChanged(QString)")
    if kind is str and name == "QLabel":
        return _property(widget, "text", "")
    if kind is str and name == "QTextEdit":
        return Binding(widget, "textChanged()", widget.toPlainText, widget.setPlainText)
    if name in _PATHS and isinstance(kind, type) and issubclass(kind, pathlib.PurePath):
        return _path(widget, _PATHS[name], kind)
    if name == "qMRMLNodeComboBox" and parameter.is_node:
        kinds = parameter.kind if isinstance(parameter.kind, tuple) else (parameter.kind,)
        widget.nodeTypes = [kind().GetClassName() for kind in kinds]  # of an instance: no abstract class will do
        return Binding(widget, "currentNodeChanged(vtkMRMLNode*)", widget.currentNode, widget.setCurrentNode)
    raise RuntimeError(f"no connector from {name} {widget.name} to the parameter {parameter.name} of type {kind}")


def _property(widget, name: str, signal: str, kind: type | None = None) -> Binding:
    convert = kind or (lambda value: value)
    return Binding(widget, signal, lambda: convert(getattr(widget, name)), lambda value: setattr(widget, name, value))


def _path(widget, name: str, kind: type) -> Binding:
    signal = "currentPathChanged(QString)" if name == "currentPath" else "directoryChanged(QString)"
    return Binding(widget, signal, lambda: kind(getattr(widget, name)), lambda value: setattr(widget, name, str(value)))


def _combo_box(widget, parameter: Parameter) -> Binding:
    if isinstance(parameter.kind, type) and issubclass(parameter.kind, enum.Enum):
        label = getattr(parameter.kind, "label", lambda member: member.name)
        choices = {member: label(member) for member in parameter.kind}
    else:
        choice = parameter.find(Choice)
        if choice is None:
            raise RuntimeError(f"parameter {parameter.name} needs a Choice to be bound to a combo box")
        choices = {value: str(value) for value in choice.choices}
    values = list(choices)
    widget.clear()
    widget.addItems(list(choices.values()))
    return Binding(
        widget,
        "currentIndexChanged(int)",
        lambda: values[widget.currentIndex],
        lambda value: widget.setCurrentIndex(values.index(value)),
    )


def _take_range(widget, name: str, parameter: Parameter) -> None:
    for annotation, part in ((Decimals, "decimals"), (SingleStep, "singleStep")):
        if parameter.find(annotation) is not None:
            setattr(widget, part, parameter.find(annotation).value)
    both = parameter.find(WithinRange)
    lower = both or parameter.find(Minimum)
    upper = both or parameter.find(Maximum)
    if name in _NEED_RANGE and not (lower and upper):
        raise RuntimeError(f"parameter {parameter.name} needs a range to be bound to a {name}")
    unbounded = _INT_RANGE if name in _TICKS else (float("-inf"), float("inf"))
    widget.minimum = lower.minimum if lower else unbounded[0]
    widget.maximum = upper.maximum if upper else unbounded[1]
