"""Small widgets of CTK that add properties to a widget of Qt."""

# ruff: noqa: N801, N802, N815  # the names are those of Slicer, CTK or Qt

from PySide6 import QtCore, QtGui, QtWidgets

from Host.widgets.observing import weakly
from Host.widgets.registry import stands_in
from Host.widgets.stored import handed_on, stored


@stands_in
class ctkCheckBox(QtWidgets.QCheckBox):
    """A check box that may show an icon."""


@stands_in
class ctkMenuButton(QtWidgets.QPushButton):
    """A push button with a menu behind the arrow at its right."""


@stands_in
class ctkComboBox(QtWidgets.QComboBox):
    """A combo box with a default text for no choice, and control over the mouse wheel."""

    NeverScroll, AlwaysScroll, ScrollWithFocus, ScrollWithNoVScrollBar = range(4)

    defaultTextChanged = QtCore.Signal(str)
    defaultText = stored("defaultText", str, "", "defaultTextChanged")
    forceDefault = stored("forceDefault", bool, False)
    elideMode = stored("elideMode", int, int(QtCore.Qt.ElideNone))
    scrollWheelEffect = stored("scrollWheelEffect", int, AlwaysScroll)

    currentUserDataAsStringChanged = QtCore.Signal(str)

    def _host_user_data(self) -> str:
        data = self.itemData(self.currentIndex)
        return "" if data is None else str(data)

    def setCurrentUserDataAsString(self, text: str) -> None:
        """Choose the item whose data, as a text, is this."""
        found = next((i for i in range(self.count) if str(self.itemData(i)) == text), -1)
        self.setCurrentIndex(found)

    currentUserDataAsString = QtCore.Property(str, _host_user_data, setCurrentUserDataAsString)

    def paintEvent(self, event) -> None:
        """The default text, where nothing is chosen."""
        if self.currentIndex >= 0 and not self.forceDefault:
            super().paintEvent(event)
            return
        option = QtWidgets.QStyleOptionComboBox()
        self.initStyleOption(option)
        option.currentText = self.defaultText
        painter = QtWidgets.QStylePainter(self)
        painter.drawComplexControl(QtWidgets.QStyle.CC_ComboBox, option)
        painter.drawControl(QtWidgets.QStyle.CE_ComboBoxLabel, option)
        painter.end()


@stands_in
class ctkFittedTextBrowser(QtWidgets.QTextBrowser):
    """A text browser as high as its text needs."""

    def heightForWidth(self, width: int) -> int:
        """The height in pixels that the whole text takes at a width."""
        document = self.document.clone()
        document.setTextWidth(max(width - 2 * self.frameWidth, 1))
        return int(document.size.height()) + 2 * self.frameWidth

    def sizeHint(self) -> QtCore.QSize:
        """The present width, and the height for it."""
        return QtCore.QSize(super().sizeHint.width(), self.heightForWidth(self.viewport().width))

    minimumSizeHint = sizeHint

    def resizeEvent(self, event) -> None:
        """A new width may need another height."""
        super().resizeEvent(event)
        self.updateGeometry()


@stands_in
class ctkMessageBox(QtWidgets.QMessageBox):
    """A message box that may offer not to be shown again."""

    dontShowAgain = stored("dontShowAgain", bool, False)
    dontShowAgainSettingsKey = stored("dontShowAgainSettingsKey", str, "")
    dontShowAgainVisible = stored("dontShowAgainVisible", bool, False)


@stands_in
class ctkDoubleSpinBox(QtWidgets.QWidget):
    """A spin box of real numbers that shows as many decimals as it is told to."""

    valueChanged = QtCore.Signal(float)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._host_box = QtWidgets.QDoubleSpinBox(self)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._host_box)
        self._host_box.connect("valueChanged(double)", weakly(self, "_host_changed"))

    def _host_changed(self, value: float) -> None:
        self.valueChanged.emit(value)

    value = handed_on(float, "_host_box", "value")
    minimum = handed_on(float, "_host_box", "minimum")
    maximum = handed_on(float, "_host_box", "maximum")
    singleStep = handed_on(float, "_host_box", "singleStep")
    decimals = handed_on(int, "_host_box", "decimals")
    prefix = handed_on(str, "_host_box", "prefix")
    suffix = handed_on(str, "_host_box", "suffix")

    def setValue(self, value: float) -> None:
        """Set the value."""
        self.value = value


def icon_of(widget: QtWidgets.QWidget, standard: QtWidgets.QStyle.StandardPixmap) -> QtGui.QIcon:
    """One of the style's own icons."""
    return widget.style().standardIcon(standard)
