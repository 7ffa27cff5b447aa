"""qMRMLNodeComboBox over the real scene."""

import pytest
import slicer


@pytest.fixture
def box(scene):
    box = slicer.qMRMLNodeComboBox()
    box.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    box.noneEnabled = True
    box.setMRMLScene(scene)
    return box


@pytest.fixture
def changes(box):
    changes = []
    box.connect("currentNodeChanged(vtkMRMLNode*)", lambda node: changes.append(node and node.GetName()))
    return changes


def add(scene, name="CT", kind="vtkMRMLScalarVolumeNode"):
    return scene.AddNewNodeByClass(kind, name)


def test_it_lists_nodes_of_its_types_with_subclasses(scene, box):
    add(scene)
    add(scene, "Labels", "vtkMRMLLabelMapVolumeNode")
    add(scene, "Text", "vtkMRMLTextNode")
    assert box.nodeCount() == 2
    box.showChildNodeTypes = False
    assert box.nodeCount() == 1


def test_hidden_nodes_are_not_listed(scene, box):
    node = slicer.vtkMRMLScalarVolumeNode()
    node.HideFromEditorsOn()
    scene.AddNode(node)
    assert box.nodeCount() == 0


def test_choosing_tells_node_and_validity(scene, box, changes):
    valid = []
    box.connect("currentNodeChanged(bool)", lambda state: valid.append(state))
    node = add(scene)
    box.setCurrentNode(node)
    box.setCurrentNode(None)
    assert changes == ["CT", None]
    assert valid == [True, False]


def test_with_none_nothing_is_chosen_by_itself(scene, box, changes):
    add(scene)
    assert (box.currentNode(), changes) == (None, [])


def test_without_none_the_first_node_is_chosen_by_itself(scene, box, changes):
    box.noneEnabled = False
    node = add(scene)
    add(scene, "MR")
    assert (box.currentNode(), changes) == (node, ["CT"])
    box.setCurrentNode(None)
    assert box.currentNode() is node


def test_a_node_that_is_not_listed_means_none(scene, box):
    box.setCurrentNode(add(scene, "Text", "vtkMRMLTextNode"))
    assert box.currentNode() is None
    box.setCurrentNodeID("vtkMRMLScalarVolumeNode99")
    assert box.currentNode() is None


def test_the_choice_follows_the_removal_of_the_node(scene, box, changes):
    node = add(scene)
    box.setCurrentNode(node)
    scene.RemoveNode(node)
    assert (box.currentNode(), changes) == (None, ["CT", None])


def test_closing_the_scene_empties_it(scene, box, changes):
    box.setCurrentNode(add(scene))
    scene.Clear(False)
    assert (box.nodeCount(), box.currentNode(), changes[-1]) == (0, None, None)


def test_attributes_filter(scene, box):
    node = add(scene)
    box.addAttribute("vtkMRMLScalarVolumeNode", "Modality", "CT")
    assert box.nodeCount() == 0
    node.SetAttribute("Modality", "CT")
    box.addAttribute("vtkMRMLScalarVolumeNode", "Modality")
    assert box.nodeCount() == 1


def test_a_new_node_is_named_chosen_and_told(scene, box):
    told = []
    box.baseName = "Result"
    box.connect("nodeAddedByUserAction(vtkMRMLNode*)", lambda node: told.append(node))
    node = box.addNode()
    assert node.GetName() == "Result"
    assert (box.currentNode(), told) == (node, [node])


def test_blocked_signals_are_not_sent(scene, box, changes):
    node = add(scene)
    box.blockSignals(True)
    box.setCurrentNode(node)
    box.blockSignals(False)
    assert (box.currentNode(), changes) == (node, [])


def test_it_shows_the_nodes_name_also_after_a_change(scene, box):
    renamed = []
    box.connect("currentNodeRenamed(QString)", lambda name: renamed.append(name))
    node = add(scene)
    box.setCurrentNode(node)
    node.SetName("CT of the chest")
    assert renamed == ["CT of the chest"]
    assert box.findChild("QComboBox").currentText == "CT of the chest"


def test_without_a_scene_it_is_empty(scene):
    box = slicer.qMRMLNodeComboBox()
    box.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    add(scene)
    assert (box.nodeCount(), box.currentNode(), box.currentNodeID) == (0, None, "")
