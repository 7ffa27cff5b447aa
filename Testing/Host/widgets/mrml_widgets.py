"""qMRMLWidget and the button that shows a segmentation in 3D."""

# ruff: noqa: N801, N802, N815  # the names are those of Slicer, CTK or Qt

from PySide6 import QtWidgets

from Host.pythonqt.signals import HostSignal
from Host.widgets.ctk_widgets import ctkMenuButton
from Host.widgets.observing import Observer, weakly
from Host.widgets.registry import stands_in

CLOSED_SURFACE = "Closed surface"


@stands_in
class qMRMLWidget(QtWidgets.QWidget):
    """A widget that hands the scene on to those that its signal is connected to."""

    mrmlSceneChanged = HostSignal("mrmlSceneChanged(vtkMRMLScene*)")

    def mrmlScene(self):
        """The scene; None before it is set."""
        return self.__dict__.get("_host_scene")

    def setMRMLScene(self, scene) -> None:
        """Set the scene; the signal tells when it is another one."""
        if scene is not self.mrmlScene():
            self._host_scene = scene
            self.mrmlSceneChanged.emit(scene)


@stands_in
class qMRMLSegmentationShow3DButton(ctkMenuButton):
    """Checked, it makes the segmentation's closed surface and shows it in 3D; unchecked, it removes the surface.

    It is disabled without a segmentation that has segments. It takes no scene.
    """

    def __init__(self, parent=None):
        super().__init__(parent)
        self._host_node, self._host_observer, self._host_locked = None, None, False
        self.setText("Show 3D")
        self.setCheckable(True)
        self.connect("toggled(bool)", weakly(self, "_host_toggled"))
        self._host_update()

    def segmentationNode(self):
        """The segmentation, or None."""
        return self._host_node

    def setSegmentationNode(self, node) -> None:
        """Show another segmentation's state; nothing happens if it is the same one."""
        if node is not None and not node.IsA("vtkMRMLSegmentationNode"):
            raise ValueError(f"{node.GetClassName()} is not a vtkMRMLSegmentationNode")
        if node is self._host_node:
            return
        if self._host_observer is not None:
            self._host_observer.remove()
        self._host_node = node
        self._host_observer = None if node is None else Observer(self, "_host_update", node, "AnyEvent")
        self._host_update()

    def setLocked(self, locked: bool) -> None:
        """Keep the button disabled."""
        self._host_locked = locked
        self._host_update()

    def _host_update(self) -> None:
        segmentation = None if self._host_node is None else self._host_node.GetSegmentation()
        usable = segmentation is not None and segmentation.GetNumberOfSegments() > 0
        self.setEnabled(usable and not self._host_locked)
        blocked = self.blockSignals(True)
        self.setChecked(usable and segmentation.ContainsRepresentation(CLOSED_SURFACE))
        self.blockSignals(blocked)

    def _host_toggled(self, checked: bool) -> None:
        node = self._host_node
        if node is None:
            return
        if not checked:
            node.RemoveClosedSurfaceRepresentation()
        elif node.CreateClosedSurfaceRepresentation() and node.GetDisplayNode() is not None:
            node.GetDisplayNode().SetVisibility3D(True)
            node.GetDisplayNode().SetPreferredDisplayRepresentationName3D(CLOSED_SURFACE)
