"""ctkCollapsibleButton: a header button above its contents."""

# ruff: noqa: N801, N802, N815  # the names are those of Slicer, CTK or Qt

from PySide6 import QtCore, QtGui, QtWidgets

from Host.widgets.observing import weakly
from Host.widgets.registry import stands_in
from Host.widgets.stored import stored


@stands_in
class ctkCollapsibleButton(QtWidgets.QAbstractButton):
    """Checked means expanded. While it is collapsed its children are hidden and its height is that of the header."""

    contentsCollapsed = QtCore.Signal(bool)
    collapsedHeight = stored("collapsedHeight", int, 10)
    contentsLineWidth = stored("contentsLineWidth", int, 1)
    contentsMidLineWidth = stored("contentsMidLineWidth", int, 0)
    contentsFrameShape = stored("contentsFrameShape", int, int(QtWidgets.QFrame.NoFrame))
    contentsFrameShadow = stored("contentsFrameShadow", int, int(QtWidgets.QFrame.Plain))

    def __init__(self, *arguments):
        text = arguments[0] if arguments and isinstance(arguments[0], str) else ""
        super().__init__(*arguments[1 if text else 0 :])
        self._host_hidden = []
        self.setText(text)
        self.setCheckable(True)
        self.setChecked(True)
        self.setSizePolicy(QtWidgets.QSizePolicy.Preferred, QtWidgets.QSizePolicy.Preferred)
        self.setContentsMargins(0, self._host_header_height(), 0, 0)
        self.connect("toggled(bool)", weakly(self, "_host_toggled"))

    def _host_collapsed(self) -> bool:
        return not self.checked

    def _host_set_collapsed(self, collapsed: bool) -> None:
        self.setChecked(not collapsed)

    collapsed = QtCore.Property(bool, _host_collapsed, _host_set_collapsed, notify=contentsCollapsed)

    def _host_toggled(self, expanded: bool) -> None:
        if expanded:
            for child in self._host_hidden:
                child.show()
            self._host_hidden = []
        else:
            children = [child for child in self.children() if isinstance(child, QtWidgets.QWidget)]
            self._host_hidden = [child for child in children if not child.isHidden()]
            for child in self._host_hidden:
                child.hide()
        self.setMaximumHeight(16777215 if expanded else self._host_header_height() + self.collapsedHeight)
        self.updateGeometry()
        self.contentsCollapsed.emit(not expanded)

    def _host_header_height(self) -> int:
        return self.fontMetrics().height() + 8

    def hitButton(self, position) -> bool:
        """Only the header can be clicked."""
        return position.y() < self._host_header_height()

    def minimumSizeHint(self) -> QtCore.QSize:
        """The header's size, and the contents' below it."""
        size = QtCore.QSize(self.fontMetrics().horizontalAdvance(self.text) + 40, self._host_header_height())
        if self.checked and self.layout() is not None:
            size = size.expandedTo(self.layout().totalMinimumSize())
        return size

    def sizeHint(self) -> QtCore.QSize:
        """As minimumSizeHint, with what the contents would like."""
        size = self.minimumSizeHint()
        if self.checked and self.layout() is not None:
            size = size.expandedTo(self.layout().totalSizeHint())
        return size

    def paintEvent(self, event) -> None:
        """A button across the width: an arrow, then the text."""
        option = QtWidgets.QStyleOptionButton()
        option.initFrom(self)
        option.rect = QtCore.QRect(0, 0, self.width, self._host_header_height())
        option.state |= QtWidgets.QStyle.State_Raised
        painter = QtWidgets.QStylePainter(self)
        painter.drawControl(QtWidgets.QStyle.CE_PushButtonBevel, option)
        arrow = QtWidgets.QStyleOption()
        arrow.initFrom(self)
        arrow.rect = QtCore.QRect(8, (self._host_header_height() - 9) // 2, 9, 9)
        down, right = QtWidgets.QStyle.PE_IndicatorArrowDown, QtWidgets.QStyle.PE_IndicatorArrowRight
        painter.drawPrimitive(down if self.checked else right, arrow)
        painter.setPen(self.palette.color(QtGui.QPalette.ButtonText))
        painter.drawText(option.rect.adjusted(24, 0, -8, 0), QtCore.Qt.AlignVCenter | QtCore.Qt.AlignLeft, self.text)
        painter.end()


@stands_in
class ctkCollapsibleGroupBox(QtWidgets.QGroupBox):
    """A group box whose check mark says whether its contents are shown."""

    collapsedHeight = stored("collapsedHeight", int, 14)

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.setCheckable(True)
        self.connect("toggled(bool)", weakly(self, "_host_toggled"))

    def _host_collapsed(self) -> bool:
        return not self.checked

    def _host_set_collapsed(self, collapsed: bool) -> None:
        self.setChecked(not collapsed)

    collapsed = QtCore.Property(bool, _host_collapsed, _host_set_collapsed)

    def _host_toggled(self, expanded: bool) -> None:
        self.setMaximumHeight(16777215 if expanded else self.fontMetrics().height() + self.collapsedHeight)
