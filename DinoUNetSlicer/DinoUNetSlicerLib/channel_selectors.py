"""One selector of volumes per channel of the model: the first one stands in the .ui file, the others come and go."""

from typing import Any

import slicer

from DinoUNetSlicerLib.models import Model
from DinoUNetSlicerLib.parameters import EXTRA_CHANNEL_ROLE


class ChannelSelectors:
    """Chosen nodes are kept as node references of the (raw) parameter node."""

    def __init__(self, ui, on_changed):
        self.ui, self.on_changed = ui, on_changed
        self.selectors: list[Any] = []
        self._node = None  # the parameter node
        self._showing = False

    def show(self, model: Model | None, parameter_node: Any) -> None:
        """Offer what the model takes."""
        self._node = parameter_node
        names = ["Volume"] if model is None or model.takes_colors else model.channel_names
        self.ui.inputVolumeLabel.setText(f"{names[0]}:")
        self._rebuild(names[1:])
        self._showing = True  # what is shown must not be taken for a choice: a node may not be loaded yet
        for number, selector in enumerate(self.selectors, start=1):
            selector.setCurrentNode(parameter_node.GetNodeReference(EXTRA_CHANNEL_ROLE.format(number)))
        self._showing = False

    def forget(self) -> None:
        """Let the parameter node go, and the selectors with it: while a scene closes they would choose anew."""
        self._node = None
        self._rebuild([])

    @property
    def nodes(self) -> list[Any]:
        """The nodes of the second, third, ... channel; None where none is chosen."""
        return [selector.currentNode() for selector in self.selectors]

    def _rebuild(self, names: list[str]) -> None:
        layout = self.ui.channelsBox.layout()
        labels = [selector.toolTip for selector in self.selectors]
        if labels == [_tip(name) for name in names]:
            return
        while layout.rowCount():
            layout.removeRow(0)
        self.selectors = [self._selector(number, name) for number, name in enumerate(names, start=1)]
        for name, selector in zip(names, self.selectors, strict=True):
            layout.addRow(f"{name}:", selector)
        self.ui.channelsBox.setVisible(bool(names))

    def _selector(self, number: int, name: str) -> Any:
        selector = slicer.qMRMLNodeComboBox()
        selector.nodeTypes = ["vtkMRMLScalarVolumeNode", "vtkMRMLVectorVolumeNode"]
        selector.showChildNodeTypes = False
        selector.noneEnabled = True
        selector.noneDisplay = "Choose a volume"
        selector.addEnabled = selector.removeEnabled = False
        selector.setToolTip(_tip(name))
        selector.setMRMLScene(slicer.mrmlScene)
        selector.connect("currentNodeChanged(vtkMRMLNode*)", lambda node: self._chosen(number, node))
        return selector

    def _chosen(self, number: int, node: Any) -> None:
        if self._showing:
            return
        if self._node is not None:
            self._node.SetNodeReferenceID(EXTRA_CHANNEL_ROLE.format(number), node.GetID() if node is not None else None)
        self.on_changed()


def _tip(name: str) -> str:
    return f"The channel {name} of the same case; it is brought onto the first volume's grid"
