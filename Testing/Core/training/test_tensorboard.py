import subprocess
import sys

import pytest

ROW = {"loss": 0.5, "mean_dice": 0.75, "dice": [0.75, None], "learning_rate": 0.01, "seconds": 3.0, "waiting": 0.1}


def scalars(folder):
    """{tag: {step: value}} of what TensorBoard reads."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder)).Reload()
    return {
        tag: {event.step: round(event.value, 4) for event in events.Scalars(tag)} for tag in events.Tags()["scalars"]
    }


def log(folder, epochs, done=0):
    from DinoUNetCore.training.tensorboard import EventLog

    events = EventLog(folder, done)
    for epoch in epochs:
        events.add({**ROW, "epoch": epoch, "loss": epoch / 10}, ["ball", "shell"])
    events.close()


def test_tensorboard_reads_a_number_per_epoch(tmp_path):
    pytest.importorskip("tensorboard")
    log(tmp_path, (1, 2))
    found = scalars(tmp_path)
    assert found["loss"] == {1: 0.1, 2: 0.2} and found["Dice/ball"] == {1: 0.75, 2: 0.75}
    assert found["speed/share of time waiting for data"][1] == 0.1
    assert "Dice/shell" not in found and "speed/patches per second" not in found  # nothing was measured


def test_what_a_killed_run_logged_after_its_last_checkpoint_is_not_shown(tmp_path):
    pytest.importorskip("tensorboard")
    log(tmp_path, (1, 2, 3))
    log(tmp_path, (2, 3), done=1)
    assert scalars(tmp_path)["loss"] == {1: 0.1, 2: 0.2, 3: 0.3}


def test_without_tensorboard_it_is_said_how_to_install_it(tmp_path):
    program = (
        "import sys; sys.modules['tensorboard'] = None\n"
        "from pathlib import Path; from DinoUNetCore.training.tensorboard import EventLog\n"
        f"EventLog(Path({str(tmp_path)!r}))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert result.returncode != 0
    assert 'UserError: TensorBoard is not installed; run python -m pip install "dinounet-slicer[tensorboard]"' in (
        result.stderr
    )
