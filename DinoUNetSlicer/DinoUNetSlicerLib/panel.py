"""The panel: puts its sections together and ties them to the scene and to the choices that are kept in it."""

from collections.abc import Callable
from typing import Any

import slicer

from DinoUNetSlicerLib import segmenting
from DinoUNetSlicerLib.channel_selectors import ChannelSelectors
from DinoUNetSlicerLib.engine_command import load_choice, make_command
from DinoUNetSlicerLib.engine_section import EngineSection
from DinoUNetSlicerLib.errors import UserError
from DinoUNetSlicerLib.hub_models import HubDownload
from DinoUNetSlicerLib.model_section import ModelSection
from DinoUNetSlicerLib.options import PRECISIONS, Options
from DinoUNetSlicerLib.packages_section import PackagesSection
from DinoUNetSlicerLib.run_section import RunSection
from DinoUNetSlicerLib.sample import load_sample


class Panel:
    """ui: the widgets of DinoUNetSlicer.ui by their names. `parameters` are set by `use` and None in between."""

    def __init__(self, ui):
        self.ui = ui
        self.parameters: Any = None
        self._parameter_node: Any = None
        self._updating = False
        engine = segmenting.shared_engine()
        self.run = RunSection(ui, self._segment)
        self.models = ModelSection(ui, self._model_chosen, self.run.say, self._fetch)
        self.channels = ChannelSelectors(ui, self.update)
        self.engine = EngineSection(ui, engine, self.run.say, self.run.log)
        self.packages = PackagesSection(ui, engine, self.run.say)
        ui.sampleDataButton.connect("clicked(bool)", self._load_sample)
        ui.deviceSelector.connect("currentTextChanged(QString)", self._device_chosen)
        ui.precisionSelector.connect("currentIndexChanged(int)", self._precision_chosen)

    def use(self, parameters: Any, parameter_node: Any) -> None:
        """Show these choices (or None, while the scene is closed). parameter_node: the same, as the raw MRML node."""
        self.parameters, self._parameter_node = parameters, parameter_node
        if parameters is not None:
            self.models.refresh()
            self.packages.refresh()
        else:
            self.channels.forget()
        self.update()

    def update(self) -> None:
        """Bring the widgets in line with the parameters."""
        if self.parameters is None or self._updating:
            return
        self._updating = True
        try:
            if self.models.wanted != self.parameters.modelName:
                self.models.select(self.parameters.modelName)
            self.channels.show(self.models.current, self._parameter_node)
            several = self.models.current is not None and len(self.models.current.planes) > 1
            for widget in (self.ui.fusePlanesLabel, self.ui.fusePlanesCheckBox):
                widget.setVisible(several)
            shown = self.ui.deviceSelector.currentText.strip() or "auto"
            if shown != self.parameters.device:  # not while it is typed
                self.ui.deviceSelector.setCurrentText(self.parameters.device)
            if self.parameters.precision in PRECISIONS:
                self.ui.precisionSelector.setCurrentIndex(PRECISIONS.index(self.parameters.precision))
            self.ui.show3DButton.setSegmentationNode(self.parameters.outputSegmentation)
            self._allow()
        finally:
            self._updating = False

    def scene_closes(self) -> None:
        """A segmentation that runs is cancelled: its volume goes."""
        self.run.scene_closes()

    def close(self) -> None:
        """The module goes: nothing of it stays behind."""
        self.run.cancel()
        segmenting.shared_engine().stop()

    def _allow(self) -> None:
        volumes = [self.parameters.inputVolume, *self.channels.nodes]
        if self.models.current is None:
            self.run.allow(False, "Choose a model.")
        elif None in volumes:
            self.run.allow(False, "Choose a volume." if len(volumes) == 1 else "Choose a volume for every channel.")
        else:
            self.run.allow(True, "Segment the volume; the rest of Slicer stays usable meanwhile.")

    def _segment(self) -> None:
        chosen, model = self.parameters, self.models.current
        volumes = [chosen.inputVolume, *self.channels.nodes]
        if model is None or None in volumes:
            raise UserError("choose a model and a volume for each of its channels.")
        planes = () if chosen.fusePlanes or len(model.planes) == 1 else model.planes[:1]
        options = Options(
            chosen.device,
            chosen.precision,
            chosen.mirror,
            chosen.fast,
            chosen.keepLargest or None,  # unticked: the model's own rule
            chosen.batchSize,
            chosen.threads,
            planes,
        )
        if chosen.outputSegmentation is not None:
            segmenting.check_output(chosen.outputSegmentation, volumes[0])
        order = segmenting.make_order(volumes, model, chosen.roi, options)
        self.run.segment(order, volumes[0], model, chosen.outputSegmentation, self._shown)

    def _shown(self, node: Any) -> None:
        if self.parameters is not None:
            self.parameters.outputSegmentation = node
            self.update()

    def _model_chosen(self, name: str) -> None:
        if self.parameters is not None:
            self.parameters.modelName = name
            self.update()

    def _device_chosen(self, text: str) -> None:
        if self.parameters is not None and not self._updating:
            self.parameters.device = text.strip() or "auto"

    def _precision_chosen(self, index: int) -> None:
        if self.parameters is not None and not self._updating and index >= 0:
            self.parameters.precision = PRECISIONS[index]

    def _load_sample(self) -> None:
        def start(on_done, on_error):
            engine = segmenting.shared_engine()
            identity = load_sample(engine, make_command(*load_choice()), on_done, on_error)
            return lambda: engine.cancel(identity)

        self.run.begin("Drawing a phantom CT ...", start, self._sample_loaded, uses_scene=True)

    def _sample_loaded(self, node: Any) -> None:
        if self.parameters is not None:
            self.parameters.inputVolume = node
        slicer.util.setSliceViewerLayers(background=node, fit=True)
        self.run.say(f"{node.GetName()} is loaded: press Segment.", False)

    def _fetch(self, source: str, on_added: Callable[[str], None]) -> None:
        sentence = f"Downloading {source} ..."

        def start(on_done, on_error):
            def progress(fraction: float) -> None:
                self.run.progress(fraction, f"{sentence} {fraction:.0%}")

            download = HubDownload(source, on_done, on_error, progress)
            download.start(segmenting.shared_engine(), make_command(*load_choice()))
            return download.cancel

        self.run.begin(sentence, start, on_added)
