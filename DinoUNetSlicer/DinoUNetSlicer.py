"""Dino U-Net in 3D Slicer: the module, its panel, its functions for the Python console, and its self-test.

What they do stands in DinoUNetSlicerLib; the network runs in a process of its own (DinoUNetCore/engine/PROTOCOL.md).
"""

import qt
import slicer
import vtk
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin


class DinoUNetSlicer(ScriptedLoadableModule):
    """The module as Slicer lists it."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        from DinoUNetSlicerLib import resource

        parent.title = "Dino U-Net"
        parent.categories = ["Segmentation"]
        parent.dependencies = []
        parent.contributors = ["The Dino U-Net for 3D Slicer contributors"]
        parent.helpText = (
            "Segments CT, MR, X-ray and other images slice by slice with trained Dino U-Net models (a frozen DINOv3 "
            "vision transformer, an adapter, a fidelity-aware projection and a U-Net decoder). Choose a model and a "
            "volume, and press Segment. For research only. Not a medical device."
        )
        parent.acknowledgementText = (
            "Dino U-Net was proposed by Gao, Li, Yuan, Wang and Gao (arXiv 2508.20909); DINOv3 is Meta's "
            "(arXiv 2508.10104)."
        )
        icon = resource("Icons", "DinoUNetSlicer.png")
        if icon.is_file():
            parent.icon = qt.QIcon(str(icon))


class DinoUNetSlicerWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """Opens the panel, and keeps it in line with the scene."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.panel = None
        self._parameters = None
        self._bindings = None

    def setup(self):
        """Slicer calls this when the module is opened for the first time."""
        ScriptedLoadableModuleWidget.setup(self)
        from DinoUNetSlicerLib import resource
        from DinoUNetSlicerLib.panel import Panel

        widget = slicer.util.loadUI(str(resource("UI", "DinoUNetSlicer.ui")))
        self.layout.addWidget(widget)
        self.ui = slicer.util.childWidgetVariables(widget)
        widget.setMRMLScene(slicer.mrmlScene)
        self.logic = DinoUNetSlicerLogic()
        self.panel = Panel(self.ui)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self._scene_closes)
        self.addObserver(scene, scene.EndCloseEvent, self._scene_changed)
        self.addObserver(scene, scene.EndImportEvent, self._scene_changed)
        self._use_parameters()

    def enter(self):
        """Slicer calls this whenever the module is shown."""
        self._use_parameters()

    def exit(self):
        """Slicer calls this when another module is shown. Work goes on."""

    def cleanup(self):
        """Slicer calls this when it ends, or reloads the module."""
        self._forget_parameters()
        self.removeObservers()
        if self.panel is not None:
            self.panel.close()

    def _scene_closes(self, caller, event):
        self.panel.scene_closes()
        self._forget_parameters()

    def _scene_changed(self, caller, event):
        self._forget_parameters()
        if self.parent.isEntered:
            self._use_parameters()

    def _use_parameters(self):
        if self._parameters is not None:
            return
        parameters = self.logic.getParameterNode()
        self._bindings = parameters.connectParametersToGui(self._bound_widgets())
        self._parameters = parameters
        self.addObserver(self._parameters, vtk.vtkCommand.ModifiedEvent, self._parameters_changed)
        if self._parameters.inputVolume is None:
            volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
            volumes = [node for node in volumes if not node.IsA("vtkMRMLLabelMapVolumeNode")]
            if volumes:
                self._parameters.inputVolume = volumes[0]
        self.panel.use(self._parameters, self.logic.rawParameterNode())

    def _bound_widgets(self):
        """{parameter: widget}, as the .ui file has them. connectGui finds them, too, but cannot be undone."""
        named = ((widget.property("SlicerParameterName"), widget) for widget in vars(self.ui).values())
        return {name: widget for name, widget in named if name}

    def _forget_parameters(self):
        if self._parameters is not None:
            self.removeObserver(self._parameters, vtk.vtkCommand.ModifiedEvent, self._parameters_changed)
            self._parameters.disconnectGui(self._bindings)
            self._parameters = self._bindings = None
            self.panel.use(None, None)

    def _parameters_changed(self, caller, event):
        self.panel.update()


class DinoUNetSlicerLogic(ScriptedLoadableModuleLogic):
    """Dino U-Net from Slicer's Python console; see the README for examples.

    Errors are raised as DinoUNetCore.errors.UserError, whose text is the sentence that the panel would show.
    """

    def getParameterNode(self):
        """The panel's choices, as an object with one attribute each (see DinoUNetSlicerLib.parameters)."""
        from DinoUNetSlicerLib.parameters import Parameters

        return Parameters(self.rawParameterNode())

    def rawParameterNode(self):
        """The MRML node that keeps the panel's choices in the scene."""
        return ScriptedLoadableModuleLogic.getParameterNode(self)

    def models(self):
        """The names of the models that `segment` takes."""
        from DinoUNetSlicerLib.models import list_models

        return [model.name for model in list_models()[0]]

    def segment(self, volumeNode, model="phantom-tiny", roi=None, outputSegmentation=None, **options):
        """Segment a volume node, wait for the result, and return its segmentation node.

        volumeNode: a volume node, or a list of them, one per channel of the model. model: a name of `models()`. roi: a
        markups ROI node that limits the work. outputSegmentation: a segmentation node to put the segments into; None
        makes a new one. options: device, precision, mirror, fast, keepLargest, batchSize, threads, planes,
        maxMemory; see DinoUNetSlicerLib.options. keepLargest: None applies the model's own rule, True keeps the largest
        piece of every structure, False all pieces.
        """
        from DinoUNetSlicerLib import segmenting
        from DinoUNetSlicerLib.models import find_model
        from DinoUNetSlicerLib.options import Options

        nodes = list(volumeNode) if isinstance(volumeNode, (list, tuple)) else [volumeNode]
        chosen = find_model(model)
        if outputSegmentation is not None:
            segmenting.check_output(outputSegmentation, nodes[0])
        order = segmenting.make_order(nodes, chosen, roi, Options.of(options))
        result = segmenting.run(order)
        return segmenting.show(result, nodes[0], chosen, outputSegmentation)

    def segmentBatch(
        self, inputs, outputFolder, model="phantom-tiny", ending=".seg.nrrd", overwrite=False, progress=None, **options
    ):
        """Segment many images, one after the other, into files; one that fails does not stop the others.

        inputs: a file, a folder, a volume node, or a list of them. progress: called with (done, total, next name).
        Outputs that exist are kept unless `overwrite`: a batch that was interrupted can be repeated. Returns a report:
        `.done`, `.kept` and `.failed` are lists with name, output and reason; `.exitCode` is 1 if anything failed.
        """
        from DinoUNetSlicerLib.batch import segment_batch
        from DinoUNetSlicerLib.models import find_model
        from DinoUNetSlicerLib.options import Options

        return segment_batch(
            inputs,
            outputFolder,
            find_model(model),
            Options.of(options),
            ending=ending,
            overwrite=overwrite,
            on_progress=progress or (lambda done, total, name: None),
        )


class DinoUNetSlicerTest(ScriptedLoadableModuleTest):
    """The self-test: Reload and Test in the panel, or from Python, with this file's folder:

        import slicer.testing; slicer.testing.runUnitTest([folder], 'DinoUNetSlicer')
    """

    in_suite = False
    """Whether unittest runs it, which counts what is skipped; Reload and Test calls runTest alone."""

    def run(self, result=None):
        """unittest calls this."""
        self.in_suite = True
        return super().run(result)

    def setUp(self):
        """Begin with an empty scene."""
        slicer.mrmlScene.Clear(0)

    def runTest(self):
        """Run all tests."""
        from DinoUNetSlicerLib.self_test import run_self_test

        self.setUp()
        run_self_test(self)
