"""Which engine computes, how it is checked, and how its memory is given back."""

from collections.abc import Callable

from DinoUNetSlicerLib.engine import Engine, Event
from DinoUNetSlicerLib.engine_command import COMMAND_LINE, KINDS, OTHER_PYTHON, load_choice, make_command, save_choice
from DinoUNetSlicerLib.errors import UserError

_PLACEHOLDERS = {
    OTHER_PYTHON: "path of a Python interpreter that has the packages",
    COMMAND_LINE: "ssh gpu-box python -m DinoUNetCore.worker",
}


class EngineSection:
    """say: shows a sentence. log: adds a line to the log. The choice belongs to the machine, not to the scene."""

    def __init__(self, ui, engine: Engine, say: Callable[[str, bool], None], log: Callable[[str], None]):
        self.ui, self.engine, self.say, self.log = ui, engine, say, log
        kind, text = load_choice()
        ui.engineSelector.setCurrentIndex(KINDS.index(kind))
        ui.engineCommandEdit.setText(text)
        self._show(kind)
        ui.engineSelector.connect("currentIndexChanged(int)", self._changed)
        ui.engineCommandEdit.connect("editingFinished()", self._changed)
        ui.checkEngineButton.connect("clicked(bool)", self.check)
        ui.unloadButton.connect("clicked(bool)", self.unload)

    def check(self) -> None:
        """Start the engine and show what it is and has."""
        self.say("Starting the engine ...", False)  # one that cannot be started may be reported within `request`
        try:
            self.engine.request(make_command(*load_choice()), {"request": "hello"}, self._answered)
        except UserError as error:
            self.say(str(error), True)

    def unload(self) -> None:
        """End the process; work under way ends with it."""
        self.engine.stop()
        self.say("The engine is unloaded; the next segmentation starts it again.", False)

    def _answered(self, event: Event, data: bytes) -> None:
        if event.get("event") == "error":
            self.say(str(event.get("message")), True)
        elif event.get("event") == "result":
            versions = [f"{name} {version or 'not installed'}" for name, version in event["versions"].items()]
            self.log(f"Engine: {', '.join(versions)}")
            for device in event["devices"]:
                self.log(f"Device {device['name']}: {device.get('description', '')}{_memory(device)}")
            devices = ", ".join(device["name"] for device in event["devices"])
            self.say(f"The engine works; its devices: {devices}. More is in the log.", False)

    def _changed(self, *_) -> None:
        kind = KINDS[self.ui.engineSelector.currentIndex]
        save_choice(kind, self.ui.engineCommandEdit.text)
        self._show(kind)

    def _show(self, kind: str) -> None:
        self.ui.engineCommandEdit.setVisible(kind in _PLACEHOLDERS)
        self.ui.engineCommandEdit.placeholderText = _PLACEHOLDERS.get(kind, "")


def _memory(device: Event) -> str:
    free, total = device.get("free_bytes"), device.get("total_bytes")
    return f", {free / 2**30:.1f} of {total / 2**30:.1f} GiB free" if free and total else ""
