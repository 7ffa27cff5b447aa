"""slicer.app.layoutManager(): the views Red, Green, Yellow and one in 3D, with real nodes and logics."""

# ruff: noqa: N801, N802, N815  # the names are those of Slicer, CTK or Qt

import slicer
from PySide6 import QtCore, QtWidgets

from Host.widgets.registry import stands_in

SLICE_VIEWS = {"Red": "Axial", "Green": "Coronal", "Yellow": "Sagittal"}
SIZE = (400, 400)  # of a slice view in pixels


@stands_in
class qMRMLSliceView(QtWidgets.QWidget):
    """The picture of a slice view; it is only drawn by Host.views.rendering."""

    def scheduleRender(self) -> None:
        """Draw soon."""

    def forceRender(self) -> None:
        """Draw now."""


@stands_in
class qMRMLSliceWidget(QtWidgets.QWidget):
    """A slice view with its logic."""

    def __init__(self, logic):
        super().__init__()
        self._host_logic, self._host_view = logic, qMRMLSliceView(self)

    def sliceLogic(self):
        """The vtkMRMLSliceLogic."""
        return self._host_logic

    def mrmlSliceNode(self):
        """The vtkMRMLSliceNode."""
        return self._host_logic.GetSliceNode()

    def mrmlSliceCompositeNode(self):
        """The vtkMRMLSliceCompositeNode: which volumes are shown."""
        return self._host_logic.GetSliceCompositeNode()

    def sliceView(self):
        """The picture."""
        return self._host_view


@stands_in
class qMRMLThreeDView(QtWidgets.QWidget):
    """The picture of a 3D view; it is only drawn by Host.views.rendering."""

    def __init__(self, node):
        super().__init__()
        self._host_node = node

    def mrmlViewNode(self):
        """The vtkMRMLViewNode."""
        return self._host_node

    def scheduleRender(self) -> None:
        """Draw soon."""

    def forceRender(self) -> None:
        """Draw now."""

    def resetFocalPoint(self) -> None:
        """Look at the middle of everything."""

    def resetCamera(self) -> None:
        """Show everything."""


@stands_in
class qMRMLThreeDWidget(QtWidgets.QWidget):
    """A 3D view."""

    def __init__(self, node):
        super().__init__()
        self._host_view = qMRMLThreeDView(node)

    def mrmlViewNode(self):
        """The vtkMRMLViewNode."""
        return self._host_view.mrmlViewNode()

    def threeDView(self):
        """The picture."""
        return self._host_view


@stands_in
class qSlicerLayoutManager(QtCore.QObject):
    """The views of the conventional layout, whatever layout is asked for."""

    layoutChanged = QtCore.Signal(int)

    def __init__(self, core):
        super().__init__()
        self._host_core, self._host_layout = core, slicer.vtkMRMLLayoutNode.SlicerLayoutConventionalView
        self._host_slices = {name: qMRMLSliceWidget(self._host_slice_logic(name)) for name in SLICE_VIEWS}
        logic = slicer.vtkMRMLViewLogic()
        logic.SetMRMLApplicationLogic(core.application_logic)
        core.application_logic.GetViewLogics().AddItem(logic)
        logic.SetMRMLScene(core.scene)
        self._host_three_d = qMRMLThreeDWidget(logic.AddViewNode("1"))
        self._host_view_logic = logic

    def _host_slice_logic(self, name: str):
        logic = slicer.vtkMRMLSliceLogic()
        logic.SetMRMLApplicationLogic(self._host_core.application_logic)
        self._host_core.application_logic.GetSliceLogics().AddItem(logic)
        logic.SetMRMLScene(self._host_core.scene)
        logic.AddSliceNode(name).SetOrientation(SLICE_VIEWS[name])
        logic.ResizeSliceNode(*SIZE)
        return logic

    threeDViewCount = QtCore.Property(int, lambda self: 1)
    tableViewCount = QtCore.Property(int, lambda self: 0)
    plotViewCount = QtCore.Property(int, lambda self: 0)

    def _host_get_layout(self) -> int:
        return self._host_layout

    def setLayout(self, layout: int) -> None:
        """Ask for a layout (slicer.vtkMRMLLayoutNode.SlicerLayout...)."""
        if layout != self._host_layout:
            self._host_layout = layout
            self.layoutChanged.emit(layout)

    layout = QtCore.Property(int, _host_get_layout, setLayout)

    def mrmlScene(self):
        """The scene."""
        return self._host_core.scene

    def sliceViewNames(self) -> tuple[str, ...]:
        """The slice views' names."""
        return tuple(self._host_slices)

    def sliceWidget(self, name: str):
        """A slice view by its name, or None."""
        return self._host_slices.get(name)

    def threeDWidget(self, index: int):
        """A 3D view by its number, or None."""
        return self._host_three_d if index == 0 else None

    def mrmlSliceLogics(self):
        """The slice views' logics, a vtkCollection."""
        return self._host_core.application_logic.GetSliceLogics()

    def activeMRMLThreeDViewNode(self):
        """The 3D view's node."""
        return self._host_three_d.mrmlViewNode()

    def resetSliceViews(self) -> None:
        """Show all of the volumes in the slice views."""
        for widget in self._host_slices.values():
            widget.sliceLogic().FitSliceToBackground()

    def resetThreeDViews(self) -> None:
        """Show everything in the 3D view."""
        self._host_three_d.threeDView().resetCamera()
