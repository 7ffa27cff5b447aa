"""Models and backbones of a Hugging Face Hub, as a user of the module meets them; the hub speaks real HTTP."""

from dataclasses import replace

import numpy as np
import pytest
import qt
import slicer
from hub_stub import Faults, HubStub
from random_bundle import make_bundle
from travelling import TINY, save_named, save_weights

from DinoUNetCore.network.backbone import ViTConfig
from DinoUNetCore.weights import library, license
from DinoUNetSlicerLib.errors import LicenseNotAccepted

VARIANT = replace(TINY, vit=ViTConfig(256, 6, 4), timm_model="vit_made_up_dinov3.large_enough_for_progress")  # 19 MB
BACKBONE, BUNDLE = f"timm/{VARIANT.timm_model}", "somebody/knee"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with a bundle that names its backbone, and that backbone."""
    folder, whole = tmp_path_factory.mktemp("files"), make_bundle(variant=VARIANT)
    save_named(whole, "knee", folder / "bundle")
    save_weights(whole, folder / "backbone")
    return folder


@pytest.fixture
def hub(files, choices, tmp_path, monkeypatch):
    """A hub that has both, for engines with an empty cache whose user has not accepted the license."""
    with HubStub() as hub:
        hub.add_folder(BACKBONE, files / "backbone")
        hub.add_folder(BUNDLE, files / "bundle")
        for name, value in (hub.environment(tmp_path / "hf") | {"HF_HUB_ETAG_TIMEOUT": "30"}).items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv(license.VARIABLE, raising=False)
        monkeypatch.setattr(license, "_accepted_here", False)
        yield hub


@pytest.fixture
def volume(scene):
    """Two small slices."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "small")
    slicer.util.updateVolumeFromArray(node, np.random.default_rng(0).normal(100, 20, (2, 40, 40)).astype(np.float32))
    return node


@pytest.fixture
def ready(hub, files, opened, volume):
    """The module's widget with the model that needs the backbone, and a volume."""
    library.add(files / "bundle")
    opened.panel.models.refresh()
    opened.ui.modelSelector.setCurrentIndex(1)
    opened.ui.inputVolumeSelector.setCurrentNode(volume)
    return opened


def choose_remote(widget, command):
    """Have the engine run elsewhere."""
    widget.ui.engineSelector.setCurrentIndex(2)
    widget.ui.engineCommandEdit.setText(command)
    widget.ui.engineCommandEdit.editingFinished.emit()


def said_by(widget):
    """All that is shown in the status line from now on."""
    said, show = [], widget.panel.run.show
    widget.panel.run.show = lambda *arguments: (said.append(arguments[0]), show(*arguments))
    return said


def asked(hub, repository):
    return [request for request in hub.requests if repository in request.path]


def test_the_license_is_asked_for_once_and_the_segmentation_goes_on(host, hub, ready, wait_for_the_end, tmp_path):
    said = said_by(ready)
    host.dialogs.answer("question", qt.QMessageBox.Ok)
    ready.ui.segmentButton.click()
    host.wait_until(lambda: ready.ui.outputSelector.currentNode() is not None, 60, "the result")
    (dialog,) = host.dialogs.shown
    assert (dialog.title, license.URL in dialog.text) == ("DINOv3 License", True)
    assert any(sentence.startswith("Downloading the backbone (once) ...") for sentence in said)
    assert "Found" in ready.ui.statusLabel.text
    assert license.is_accepted() and (tmp_path / "models" / ".dinov3-license.json").is_file()

    hub.requests.clear()
    ready.ui.unloadButton.click()  # a new process has the backbone, too
    ready.ui.segmentButton.click()
    wait_for_the_end(ready)
    assert "Found" in ready.ui.statusLabel.text
    assert len(host.dialogs.shown) == 1
    assert not hub.requests


def test_without_the_license_nothing_is_downloaded_and_the_panel_says_why(host, hub, ready, scene):
    nodes = scene.GetNumberOfNodes()
    sentence = "Nothing was downloaded: the DINOv3 License was not accepted."
    for _ in range(2):  # who has declined may think again
        ready.ui.segmentButton.click()
        host.wait_until(lambda: sentence in ready.ui.statusLabel.text, 60, "the sentence")
        assert not ready.panel.run.running and ready.ui.segmentButton.enabled
        ready.ui.statusLabel.setText("")
    assert [dialog.title for dialog in host.dialogs.shown] == ["DINOv3 License"] * 2
    assert not license.is_accepted()
    assert not asked(hub, BACKBONE)
    assert scene.GetNumberOfNodes() == nodes


def test_who_has_accepted_the_license_meanwhile_is_not_asked_again(host, ready):
    host.dialogs.answer("question", qt.QMessageBox.Ok)
    begun = []
    for _ in range(2):
        ready.panel.run.explain(LicenseNotAccepted("the weights stand under a license."), lambda: begun.append(None))
    host.wait_until(lambda: len(begun) == 2, 5, "both")
    assert len(host.dialogs.shown) == 1


def test_the_console_raises_the_sentence_instead_of_asking(host, ready, volume):
    with pytest.raises(license.LicenseNotAccepted, match="stands under the DINOv3 License"):
        ready.logic.segment(volume, "knee")
    assert not host.dialogs.shown


def test_an_acceptance_here_counts_for_an_engine_elsewhere(host, ready, remote_command, wait_for_the_end, tmp_path):
    license.accept()
    choose_remote(ready, remote_command)
    ready.ui.segmentButton.click()
    wait_for_the_end(ready)
    assert "Found" in ready.ui.statusLabel.text
    assert not host.dialogs.shown
    assert not list((tmp_path / "home elsewhere").rglob(".dinov3-license.json"))


def test_a_download_is_cancelled_at_once(host, hub, ready, wait_for_the_end):
    license.accept()
    hub.faults.hang = True
    ready.ui.segmentButton.click()
    host.wait_until(lambda: asked(hub, BACKBONE), 60, "the download")
    ready.ui.segmentButton.click()
    wait_for_the_end(ready, 0.5)
    assert "ancelled" in ready.ui.statusLabel.text


@pytest.fixture
def downloading(host, hub, opened, volume):
    """The module's widget while it brings a model from a hub that does not answer."""
    hub.faults.hang = True
    opened.ui.inputVolumeSelector.setCurrentNode(volume)
    actions = {action.text: action for action in opened.ui.modelMenuButton.menu().actions()}
    host.dialogs.answer("getText", BUNDLE)
    actions["Add from Hugging Face..."].trigger()
    host.wait_until(lambda: asked(hub, BUNDLE), 60, "the download")
    return opened


def test_the_button_cancels_a_models_download_as_well(host, downloading, wait_for_the_end):
    from DinoUNetSlicerLib import segmenting

    assert (downloading.ui.segmentButton.text, downloading.ui.segmentButton.enabled) == ("Cancel", True)
    downloading.ui.segmentButton.click()
    wait_for_the_end(downloading, 0.5)
    assert "Cancelled; no model was added." in downloading.ui.statusLabel.text
    assert downloading.ui.segmentButton.text == "Segment"
    assert segmenting.shared_engine().running  # it was not ended for it


def test_nothing_else_is_begun_during_a_download(host, downloading, scene, wait_for_the_end):
    downloading.ui.sampleDataButton.click()
    assert "is at work" in downloading.ui.statusLabel.text
    scene.Clear(False)  # which the download does not need
    host.process_events(0.2)
    assert downloading.panel.run.running
    assert "ancelled" not in downloading.ui.statusLabel.text
    downloading.ui.segmentButton.click()
    wait_for_the_end(downloading, 0.5)
    assert scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0


@pytest.mark.parametrize("where", ["here", "elsewhere"])
def test_a_model_of_the_hub_comes_into_the_users_own_library(host, hub, opened, remote_command, where, tmp_path):
    if where == "elsewhere":
        choose_remote(opened, remote_command)
    actions = {action.text: action for action in opened.ui.modelMenuButton.menu().actions()}
    host.dialogs.answer("getText", "somebody/knee")
    actions["Add from Hugging Face..."].trigger()
    assert "Downloading hf:somebody/knee" in opened.ui.statusLabel.text
    host.wait_until(lambda: "Added" in opened.ui.statusLabel.text, 60, "the model")
    assert opened.ui.modelSelector.currentText == "knee"
    assert [entry.name for entry in library.list_entries() if entry.source == "library"] == ["knee"]
    assert (tmp_path / "models" / "knee" / "model.safetensors").is_file()
    assert not list((tmp_path / "home elsewhere").rglob("config.json"))

    save_named(make_bundle(seed=1, variant=TINY), "knee", tmp_path / "other")
    hub.add_folder("somebody/other", tmp_path / "other")
    host.dialogs.answer("getText", "hf:somebody/other")
    actions["Add from Hugging Face..."].trigger()
    host.wait_until(lambda: "has a model called knee already" in opened.ui.statusLabel.text, 60, "the refusal")


@pytest.mark.parametrize(
    ("name", "faults", "sentence"),
    [
        ("nobody/nothing", Faults(), "has no repository nobody/nothing"),
        ("somebody/knee", Faults(error=500), "answers with error 500"),
        ("not a name", Faults(), "not a name is not what can be added so"),
    ],
)
def test_a_model_that_the_hub_does_not_give_is_named(host, hub, opened, name, faults, sentence):
    hub.faults = faults
    host.dialogs.answer("getText", name)
    actions = {action.text: action for action in opened.ui.modelMenuButton.menu().actions()}
    actions["Add from Hugging Face..."].trigger()
    host.wait_until(lambda: "Downloading" not in opened.ui.statusLabel.text, 60, "the sentence")
    assert sentence in opened.ui.statusLabel.text
    assert not [entry for entry in library.list_entries() if entry.source == "library"]
