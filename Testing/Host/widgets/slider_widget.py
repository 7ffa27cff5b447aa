"""ctkSliderWidget: a slider and a spin box that show one real number."""

# ruff: noqa: N801, N802, N815  # the names are those of Slicer, CTK or Qt

from PySide6 import QtCore, QtWidgets

from Host.widgets.observing import weakly
from Host.widgets.registry import stands_in
from Host.widgets.stored import handed_on, stored

_STEPS = 1000  # positions of the slider between minimum and maximum


@stands_in
class ctkSliderWidget(QtWidgets.QWidget):
    """The value is kept within the range and rounded to the decimals. By default 0 to 99, 2 decimals."""

    valueChanged = QtCore.Signal(float)
    valueIsChanging = QtCore.Signal(float)

    pageStep = stored("pageStep", float, 10.0)
    tickInterval = stored("tickInterval", float, 0.0)
    tickPosition = stored("tickPosition", int, int(QtWidgets.QSlider.NoTicks))
    tracking = stored("tracking", bool, True)
    popupSlider = stored("popupSlider", bool, False)
    autoSpinBoxWidth = stored("autoSpinBoxWidth", bool, True)
    spinBoxAlignment = stored("spinBoxAlignment", int, int(QtCore.Qt.AlignRight))

    def __init__(self, parent=None):
        super().__init__(parent)
        self._host_slider = QtWidgets.QSlider(QtCore.Qt.Horizontal, self)
        self._host_slider.setRange(0, _STEPS)
        self._host_box = QtWidgets.QDoubleSpinBox(self)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._host_slider)
        layout.addWidget(self._host_box)
        self._host_slider.connect("valueChanged(int)", weakly(self, "_host_slid"))
        self._host_box.connect("valueChanged(double)", weakly(self, "_host_changed"))

    def _host_slid(self, position: int) -> None:
        self.value = self.minimum + (self.maximum - self.minimum) * position / _STEPS

    def _host_changed(self, value: float) -> None:
        self._host_show_position()
        self.valueChanged.emit(value)

    def _host_show_position(self) -> None:
        width = self.maximum - self.minimum
        blocked = self._host_slider.blockSignals(True)
        self._host_slider.setValue(round((self.value - self.minimum) / width * _STEPS) if width else 0)
        self._host_slider.blockSignals(blocked)

    value = handed_on(float, "_host_box", "value", "_host_show_position")
    minimum = handed_on(float, "_host_box", "minimum", "_host_show_position")
    maximum = handed_on(float, "_host_box", "maximum", "_host_show_position")
    singleStep = handed_on(float, "_host_box", "singleStep", "_host_show_position")
    decimals = handed_on(int, "_host_box", "decimals", "_host_show_position")
    prefix = handed_on(str, "_host_box", "prefix", "_host_show_position")
    suffix = handed_on(str, "_host_box", "suffix", "_host_show_position")

    def _host_box_shown(self) -> bool:
        return not self._host_box.isHidden()

    def setSpinBoxVisible(self, visible: bool) -> None:
        """Show or hide the spin box."""
        self._host_box.setVisible(visible)

    spinBoxVisible = QtCore.Property(bool, _host_box_shown, setSpinBoxVisible)

    def setValue(self, value: float) -> None:
        """Set the value."""
        self.value = value

    def reset(self) -> None:
        """Set the value to zero, or what is nearest to it."""
        self.value = 0.0
