"""Fixtures for tests of the module: nodes with known geometry, and the real engine."""

import sys
import textwrap

import pytest
import slicer
from slicer_geometry import vtk_matrix


@pytest.fixture
def make_volume(scene):
    """make_volume(array KJI(C), matrix=None, name, class_name): a volume node; matrix: 4 x 4, IJK to RAS."""

    def make(array, matrix=None, name="CT", class_name="vtkMRMLScalarVolumeNode"):
        node = slicer.mrmlScene.AddNewNodeByClass(class_name, name)
        slicer.util.updateVolumeFromArray(node, array)
        if matrix is not None:
            node.SetIJKToRASMatrix(vtk_matrix(matrix))
        node.CreateDefaultDisplayNodes()
        return node

    return make


@pytest.fixture
def make_transform(scene):
    """make_transform(matrix, parent=None): a linear transform node."""

    def make(matrix, parent=None):
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "transform")
        node.SetMatrixTransformToParent(vtk_matrix(matrix))
        if parent is not None:
            node.SetAndObserveTransformNodeID(parent.GetID())
        return node

    return make


@pytest.fixture
def client(scene):
    """A client of engines."""
    from DinoUNetSlicerLib.engine import Engine

    client = Engine()
    yield client
    client.stop()


@pytest.fixture
def program(tmp_path):
    """program(source): a command that runs Python source in place of an engine."""
    from DinoUNetSlicerLib.engine_command import EngineCommand

    def make(source):
        path = tmp_path / "engine with blanks.py"
        path.write_text(textwrap.dedent(source), encoding="utf-8")
        return EngineCommand(sys.executable, (str(path),), True)

    return make


@pytest.fixture
def engine(scene, monkeypatch, tmp_path):
    """The real engine, on the Python that runs the tests, with an empty library of models."""
    from DinoUNetSlicerLib import segmenting
    from DinoUNetSlicerLib.engine_command import OTHER_PYTHON, save_choice

    monkeypatch.setenv("DINOUNET_MODELS", str(tmp_path / "my models"))
    save_choice(OTHER_PYTHON, sys.executable)
    yield segmenting.shared_engine()
    segmenting.shared_engine().stop()
