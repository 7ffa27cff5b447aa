"""qMRMLNodeComboBox: a combo box of the scene's nodes of certain types."""

# ruff: noqa: N801, N802, N815  # the names are those of Slicer, CTK or Qt

from PySide6 import QtCore, QtWidgets

from Host.pythonqt.signals import HostSignal
from Host.widgets.observing import Observer, weakly
from Host.widgets.registry import stands_in
from Host.widgets.stored import stored


def _watched(name: str, kind, default):
    """A stored property after whose change the list is made anew."""
    plain = stored(name, kind, default)

    def set_value(self, value):
        plain.fset(self, value)
        self._host_refresh()

    return QtCore.Property(kind, plain.fget, set_value)


@stands_in
class qMRMLNodeComboBox(QtWidgets.QWidget):
    """Lists the nodes of `nodeTypes` (by default with their subclasses) that are not hidden from editors.

    Without a scene it is disabled. Without `noneEnabled` the first node becomes the current one by itself. The current
    node follows the scene: when it is removed, None or the first node takes its place.
    """

    currentNodeChanged = HostSignal("currentNodeChanged(vtkMRMLNode*)", "currentNodeChanged(bool)")
    currentNodeIDChanged = QtCore.Signal(str)
    currentNodeRenamed = QtCore.Signal(str)
    nodeAdded = HostSignal("nodeAdded(vtkMRMLNode*)")
    nodeAddedByUser = HostSignal("nodeAddedByUser(vtkMRMLNode*)")
    nodeAddedByUserAction = HostSignal("nodeAddedByUserAction(vtkMRMLNode*)")
    nodeAboutToBeRemoved = HostSignal("nodeAboutToBeRemoved(vtkMRMLNode*)")
    nodeAboutToBeEdited = HostSignal("nodeAboutToBeEdited(vtkMRMLNode*)")
    nodeActivated = HostSignal("nodeActivated(vtkMRMLNode*)")

    nodeTypes = _watched("nodeTypes", "QStringList", [])
    hideChildNodeTypes = _watched("hideChildNodeTypes", "QStringList", [])
    showChildNodeTypes = _watched("showChildNodeTypes", bool, True)
    showHidden = _watched("showHidden", bool, False)
    noneEnabled = _watched("noneEnabled", bool, False)
    noneDisplay = _watched("noneDisplay", str, "None")
    addEnabled = _watched("addEnabled", bool, True)
    removeEnabled = _watched("removeEnabled", bool, True)
    editEnabled = _watched("editEnabled", bool, False)
    renameEnabled = _watched("renameEnabled", bool, False)
    selectNodeUponCreation = stored("selectNodeUponCreation", bool, True)
    baseName = stored("baseName", str, "")
    interactionNodeSingletonTag = stored("interactionNodeSingletonTag", str, "Singleton")
    sizeAdjustPolicy = stored("sizeAdjustPolicy", int, int(QtWidgets.QComboBox.AdjustToContentsOnFirstShow))

    def __init__(self, parent=None):
        super().__init__(parent)
        self._host_scene, self._host_current = None, None
        self._host_scene_observers: list[Observer] = []
        self._host_node_observer: Observer | None = None
        self._host_attributes: list[tuple] = []
        self._host_labels: dict[str, str] = {}
        self._host_items: list = []  # what a row of the combo box stands for: a node, None or a method
        self._host_combo = QtWidgets.QComboBox(self)
        self._host_combo.setSizePolicy(QtWidgets.QSizePolicy.Expanding, QtWidgets.QSizePolicy.Fixed)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._host_combo)
        self._host_combo.connect("activated(int)", weakly(self, "_host_activated"))
        self._host_combo.setEnabled(False)

    def mrmlScene(self):
        """The scene; None before it is set."""
        return self._host_scene

    def setMRMLScene(self, scene) -> None:
        """List another scene's nodes."""
        if scene is self._host_scene:
            return
        for observer in self._host_scene_observers:
            observer.remove()
        self._host_scene = scene
        self._host_scene_observers = [] if scene is None else self._host_observe(scene)
        self._host_combo.setEnabled(scene is not None)
        self._host_refresh()

    def nodeCount(self) -> int:
        """The number of nodes in the list."""
        return len(self._host_nodes())

    def nodeFromIndex(self, index: int):
        """The node at an index of the list, None outside."""
        nodes = self._host_nodes()
        return nodes[index] if 0 <= index < len(nodes) else None

    def currentNode(self):
        """The chosen node, or None."""
        return self._host_current

    def setCurrentNode(self, node) -> None:
        """Choose a node (or, deprecated, an id); one that is not in the list means None."""
        if isinstance(node, str):
            self.setCurrentNodeID(node)
            return
        if node not in self._host_nodes():
            node = None
        if node is None and not self.noneEnabled and self._host_current is not None:
            return
        self._host_select(node)

    def setCurrentNodeID(self, identity: str) -> None:
        """Choose a node by its id; an unknown one means None."""
        node = self._host_scene.GetNodeByID(identity) if identity and self._host_scene is not None else None
        self.setCurrentNode(node)

    def setCurrentNodeIndex(self, index: int) -> None:
        """Choose a node by its index in the list."""
        self.setCurrentNode(self.nodeFromIndex(index))

    currentNodeID = QtCore.Property(
        str, lambda self: "" if self._host_current is None else self._host_current.GetID(), setCurrentNodeID
    )

    def addAttribute(self, node_type: str, name: str, value=None) -> None:
        """List only those nodes of a type that have the attribute (and, if given, this value)."""
        self._host_attributes.append((node_type, name, value))
        self._host_refresh()

    def removeAttribute(self, node_type: str, name: str) -> None:
        """Drop a filter."""
        self._host_attributes = [entry for entry in self._host_attributes if entry[:2] != (node_type, name)]
        self._host_refresh()

    def setNodeTypeLabel(self, label: str, node_type: str) -> None:
        """Name a type of nodes for the user."""
        self._host_labels[node_type] = label
        self._host_refresh()

    def nodeTypeLabel(self, node_type: str) -> str:
        """A type's name for the user: the label set for it, else the class's name without vtkMRML and Node."""
        default = node_type.removeprefix("vtkMRML").removesuffix("Node")
        return self._host_labels.get(node_type, default)

    def addNode(self, node_type: str = ""):
        """Make a node, as the list's last entry does; None if the type is not one of `nodeTypes`."""
        node_type = node_type or self.nodeTypes[0]
        if node_type not in self.nodeTypes:
            return None
        name = self.baseName or self.nodeTypeLabel(node_type)
        node = self._host_scene.AddNewNodeByClass(node_type, self._host_scene.GenerateUniqueName(name))
        for kind, attribute, value in self._host_attributes:
            if node.IsA(kind) and value is not None:
                node.SetAttribute(attribute, str(value))
        self._host_refresh()
        if self.selectNodeUponCreation:
            self._host_select(node)
        self.nodeAddedByUser.emit(node)
        self.nodeAddedByUserAction.emit(node)
        return node

    def removeCurrentNode(self) -> None:
        """Remove the chosen node from the scene."""
        if self._host_current is not None:
            self._host_scene.RemoveNode(self._host_current)

    def renameCurrentNode(self) -> None:
        """Ask for another name of the chosen node."""
        node = self._host_current
        if node is not None:
            name = QtWidgets.QInputDialog.getText(
                self, "Rename", "New name:", QtWidgets.QLineEdit.Normal, node.GetName()
            )
            if name:
                node.SetName(name)

    def editCurrentNode(self) -> None:
        """Ask for the chosen node to be edited."""
        self.nodeAboutToBeEdited.emit(self._host_current)

    def _host_observe(self, scene) -> list[Observer]:
        return [
            Observer(self, "_host_added", scene, scene.NodeAddedEvent, with_node=True),
            Observer(self, "_host_removed", scene, scene.NodeAboutToBeRemovedEvent, with_node=True),
            Observer(self, "_host_refresh", scene, scene.EndBatchProcessEvent),
        ]

    def _host_added(self, node) -> None:
        if not self._host_scene.IsBatchProcessing():
            self._host_refresh()
            if node in self._host_nodes():
                self.nodeAdded.emit(node)

    def _host_removed(self, node) -> None:
        if node in self._host_nodes():
            self.nodeAboutToBeRemoved.emit(node)
            self._host_refresh(removed=node)

    def _host_nodes(self, removed=None) -> list:
        scene = self._host_scene
        nodes = [] if scene is None else (scene.GetNthNode(index) for index in range(scene.GetNumberOfNodes()))
        return [node for node in nodes if node is not removed and self._host_listed(node)]

    def _host_listed(self, node) -> bool:
        name = node.GetClassName()
        if not any(node.IsA(kind) if self.showChildNodeTypes else name == kind for kind in self.nodeTypes):
            return False
        if name in self.hideChildNodeTypes or (node.GetHideFromEditors() and not self.showHidden):
            return False
        for kind, attribute, value in self._host_attributes:
            if node.IsA(kind):
                own = node.GetAttribute(attribute)
                if own is None or (value is not None and own != str(value)):
                    return False
        return True

    def _host_refresh(self, removed=None) -> None:
        nodes = self._host_nodes(removed)
        current = self._host_current if self._host_current in nodes else None
        if current is None and not self.noneEnabled and nodes:
            current = nodes[0]
        self._host_fill(nodes)
        self._host_select(current)

    def _host_fill(self, nodes: list) -> None:
        entries = [(self.noneDisplay, None)] if self.noneEnabled else []
        entries += [(node.GetName() or "", node) for node in nodes]
        label = self.nodeTypeLabel(self.nodeTypes[0]) if self.nodeTypes else "node"
        actions = []
        if self.addEnabled:
            actions += [
                (f"Create new {self.nodeTypeLabel(kind)}", lambda kind=kind: self.addNode(kind))
                for kind in self.nodeTypes
            ]
        if self.renameEnabled:
            actions.append((f"Rename current {label}", self.renameCurrentNode))
        if self.editEnabled:
            actions.append((f"Edit current {label}", self.editCurrentNode))
        if self.removeEnabled:
            actions.append((f"Delete current {label}", self.removeCurrentNode))
        self._host_items = [item for _, item in entries + actions]
        blocked = self._host_combo.blockSignals(True)
        self._host_combo.clear()
        self._host_combo.addItems([text for text, _ in entries + actions])
        self._host_combo.setPlaceholderText(f"Select a {label}")
        self._host_combo.blockSignals(blocked)
        self._host_show_current()

    def _host_show_current(self) -> None:
        items = self._host_items
        self._host_combo.setCurrentIndex(items.index(self._host_current) if self._host_current in items else -1)

    def _host_activated(self, row: int) -> None:
        item = self._host_items[row]
        if callable(item):
            self._host_show_current()
            item()
            return
        self._host_select(item)
        self.nodeActivated.emit(item)

    def _host_select(self, node) -> None:
        before = self._host_current
        if node is before:
            self._host_show_current()
            return
        if self._host_node_observer is not None:
            self._host_node_observer.remove()
        self._host_current = node
        self._host_node_observer = None if node is None else Observer(self, "_host_modified", node, "ModifiedEvent")
        self._host_show_current()
        self.currentNodeChanged.emit(node)
        qMRMLNodeComboBox.currentNodeChanged.overload(self, "currentNodeChanged(bool)").emit(node is not None)
        self.currentNodeIDChanged.emit(self.currentNodeID)

    def _host_modified(self) -> None:
        node = self._host_current
        row = self._host_combo.currentIndex
        if row >= 0 and self._host_combo.itemText(row) != node.GetName():
            self._host_combo.setItemText(row, node.GetName())
            self.currentNodeRenamed.emit(node.GetName())
