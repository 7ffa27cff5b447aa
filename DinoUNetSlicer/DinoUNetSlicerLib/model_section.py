"""The choice of the model, and what can be done with models: add, fetch, remove, look up."""

from collections.abc import Callable
from pathlib import Path

import qt
import slicer

from DinoUNetCore.weights import library
from DinoUNetSlicerLib.errors import UserError
from DinoUNetSlicerLib.hub_models import add_to_library
from DinoUNetSlicerLib.models import Model, list_models

HUGGING_FACE_HELP = (
    "Name of the model on Hugging Face (owner/name).\n"
    "The engine downloads it; then it is one of your models, on this computer."
)


class ModelSection:
    """ui: the panel's widgets. on_chosen: called with the name of a model that the user has chosen. say: shows a
    sentence. fetch: brings a model into the library, given "hf:owner/name" and what to do with its name then."""

    def __init__(self, ui, on_chosen: Callable[[str], None], say: Callable[[str, bool], None], fetch: Callable):
        self.ui, self.on_chosen, self.say, self.fetch = ui, on_chosen, say, fetch
        self.models: list[Model] = []
        self.wanted = ""
        self._filling = False
        ui.modelSelector.connect("currentIndexChanged(int)", self._changed)
        menu = self._menu = qt.QMenu(ui.modelMenuButton)
        for text, action in (
            ("Add a folder...", self._add_folder),
            ("Add a zip file...", self._add_file),
            ("Add from Hugging Face...", self._add_from_hub),
            ("Remove this model...", self._remove),
            ("Show the folder of models", self._open_folder),
            ("Refresh", self.refresh),
        ):
            menu.addAction(text).connect("triggered(bool)", self._guarded(action))
        ui.modelMenuButton.setMenu(menu)

    @property
    def current(self) -> Model | None:
        """The model chosen, or None if it is not installed."""
        return next((model for model in self.models if model.name == self.wanted), None)

    def refresh(self) -> None:
        """List the models anew; the choice stays."""
        self.models, damaged = list_models()
        self._filling = True
        selector = self.ui.modelSelector
        selector.clear()
        for number, model in enumerate(self.models):
            selector.addItem(model.name)
            selector.setItemData(number, model.description, qt.Qt.ToolTipRole)
        self._filling = False
        self.select(self.wanted)
        for sentence in damaged:
            self.say(sentence, True)

    def select(self, name: str) -> None:
        """Show a model as chosen; one that is not installed is named as missing."""
        self.wanted = name
        names = [model.name for model in self.models]
        self._filling = True
        self.ui.modelSelector.setCurrentIndex(names.index(name) if name in names else -1)
        self._filling = False
        model = self.current
        if model is None:
            text = f"The model {name} is not installed: add it (...), or choose another one." if name else ""
            self.ui.modelInfo.setText(text)
            return
        shown = ", ".join(model.structures[:6]) + (", ..." if len(model.structures) > 6 else "")
        self.ui.modelInfo.setText(f"{', '.join(model.channel_names)}: {shown}")
        for widget in (self.ui.modelInfo, self.ui.modelSelector):
            widget.setToolTip(model.description)

    def _changed(self, index: int) -> None:
        if not self._filling and 0 <= index < len(self.models):
            self.select(self.models[index].name)
            self.on_chosen(self.wanted)

    def _guarded(self, action: Callable[[], None]) -> Callable[[], None]:
        def call() -> None:
            try:
                action()
            except UserError as error:
                self.say(str(error), True)

        return call

    def _add_folder(self) -> None:
        self._add(qt.QFileDialog.getExistingDirectory(self.ui.modelMenuButton, "Folder of a model"))

    def _add_file(self) -> None:
        self._add(qt.QFileDialog.getOpenFileName(self.ui.modelMenuButton, "Zip file of a model", "", "Models (*.zip)"))

    def _add(self, source: str) -> None:
        if not source:
            return
        self._added(add_to_library(Path(source)))

    def _added(self, name: str) -> None:
        self.wanted = name
        self.refresh()
        self.on_chosen(name)
        self.say(f"Added the model {name}.", False)

    def _add_from_hub(self) -> None:
        answer = qt.QInputDialog.getText(self.ui.modelMenuButton, "Add from Hugging Face", HUGGING_FACE_HELP)
        name = (answer[0] if isinstance(answer, tuple) else answer).strip().removeprefix("hf:")
        if name:
            self.fetch(f"hf:{name}", self._added)

    def _remove(self) -> None:
        model = self.current
        if model is None:
            raise UserError("no model is chosen; choose the one to remove.")
        if model.embedded:
            raise UserError(f"{model.name} comes with the module and cannot be removed.")
        if slicer.util.confirmYesNoDisplay(f"Remove the model {model.name} and its files?\n\n{model.path}"):
            library.remove(model.name)
            self.wanted = ""
            self.refresh()
            self.on_chosen("")
            self.say(f"Removed the model {model.name}.", False)

    def _open_folder(self) -> None:
        folder = library.models_folder()
        folder.mkdir(parents=True, exist_ok=True)
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(folder)))
