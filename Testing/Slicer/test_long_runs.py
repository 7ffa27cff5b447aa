"""Long runs and large models: what a user is told meanwhile, and that Slicer goes on."""

import shutil
import sys

import numpy as np
import pytest
import slicer
from Host.scripted.layouts import ROOT


@pytest.fixture
def very_long_volume(volume):
    """More than half a minute of work on any CPU: 3600 slices, each also mirrored."""
    slicer.util.updateVolumeFromArray(volume, np.repeat(slicer.util.arrayFromVolume(volume), 60, axis=0))
    return volume


def test_of_a_long_run_it_is_said_how_long_it_takes_in_all(host, opened, very_long_volume, wait_for_the_end):
    ui = opened.ui
    ui.inputVolumeSelector.setCurrentNode(very_long_volume)
    ui.mirrorCheckBox.checked = True
    ui.threadsSpinBox.value = 1
    ui.segmentButton.click()
    host.wait_until(lambda: "in all" in ui.statusLabel.text, 60, "the expected time")
    assert "Segmenting ... about " in ui.statusLabel.text
    assert ui.progressBar.value < 0.2 * ui.progressBar.maximum  # early
    assert "left" in ui.progressBar.format
    ui.segmentButton.click()
    wait_for_the_end(opened)
    assert "ancelled" in ui.statusLabel.text


def test_of_a_short_run_no_time_is_expected(opened, volume, wait_for_the_end):
    said = []
    show = opened.panel.run.show
    opened.panel.run.show = lambda *arguments: (said.append(arguments[0]), show(*arguments))
    opened.ui.inputVolumeSelector.setCurrentNode(volume)
    opened.ui.segmentButton.click()
    wait_for_the_end(opened)
    assert any(sentence.startswith("Segmenting ...") for sentence in said)
    assert not any("in all" in sentence for sentence in said)


@pytest.fixture
def taker(tmp_path):
    """The command line of an engine that lacks every model, and takes all that it is sent without looking at it."""
    program = tmp_path / "taker.py"
    program.write_text(
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from DinoUNetCore.engine.protocol import MAGIC, FrameReader, encode_frame\n"
        "out, reader, missing = sys.stdout.buffer, FrameReader(), {}\n"
        "def say(**fields): out.write(encode_frame(fields)); out.flush()\n"
        "out.write(MAGIC); out.flush()\n"
        "while piece := sys.stdin.buffer.read1(1 << 20):\n"
        "    reader.feed(piece)\n"
        "    for frame in reader:\n"
        "        identity, kind = frame.fields['id'], frame.fields.get('request')\n"
        "        if kind == 'segment':\n"
        "            say(id=identity, event='error', code='busy' if missing else 'unknown_model', message='Taken.')\n"
        "        elif kind == 'models':\n"
        "            missing[identity] = frame.fields['total_bytes']\n"
        "        elif identity in missing:\n"
        "            missing[identity] -= len(frame.data)\n"
        "            if not missing[identity]: say(id=identity, event='result', model={})\n",
        encoding="utf-8",
    )
    return f'"{sys.executable}" "{program}"'


@pytest.fixture
def large_model(tmp_path, monkeypatch):
    """A model of 400 MB in the user's library."""
    folder = tmp_path / "models" / "large"
    shutil.copytree(ROOT / "Resources" / "Models" / "phantom-tiny", folder)
    with (folder / "model.safetensors").open("r+b") as file:
        file.truncate(400_000_000)
    return "large"


@pytest.fixture
def sending(opened, volume, taker, large_model):
    """The module's widget, ready to send the large model."""
    ui = opened.ui
    opened.panel.models.refresh()
    ui.modelSelector.setCurrentIndex(1)
    assert ui.modelSelector.currentText == large_model
    ui.inputVolumeSelector.setCurrentNode(volume)
    ui.engineSelector.setCurrentIndex(2)
    ui.engineCommandEdit.setText(taker)
    ui.engineCommandEdit.editingFinished.emit()
    return opened


def test_sending_a_large_model_leaves_slicer_alive(host, sending):
    sending.ui.segmentButton.click()
    blocked = host.wait_until(lambda: not sending.panel.run.running, 60, "the answer")
    assert "Taken." in sending.ui.statusLabel.text  # what the second request is answered
    assert blocked < 0.3  # packing it beforehand takes longer


def test_cancelling_while_a_model_is_sent_ends_it_at_once(host, sending, wait_for_the_end):
    from DinoUNetSlicerLib import segmenting

    ui = sending.ui
    ui.segmentButton.click()
    host.wait_until(lambda: "ending the model" in ui.statusLabel.text, 20, "the model on its way")
    ui.segmentButton.click()
    wait_for_the_end(sending, 3)
    assert "ancelled" in ui.statusLabel.text
    assert not segmenting.shared_engine().busy
