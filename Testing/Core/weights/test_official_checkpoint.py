"""Checkpoint files of the authors' code: facts and tensors are read, and nothing that lies in them is run."""

import io
import os
import pickle
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from official_files import checkpoint_of, write

from DinoUNetCore.errors import UserError
from DinoUNetCore.weights.official_checkpoint import read_official_checkpoint

STATE = {"encoder.weight": torch.arange(6.0).reshape(2, 3), "encoder.steps": torch.tensor(7)}


def assert_holds_state(weights):
    assert set(weights) == set(STATE)
    assert all(torch.equal(weights[name], tensor) for name, tensor in STATE.items())


def test_weights_and_facts_are_read_from_what_the_trainer_saves(tmp_path):
    checkpoint = read_official_checkpoint(write(tmp_path / "checkpoint_final.pth", checkpoint_of(STATE)))
    assert_holds_state(checkpoint.weights)
    assert checkpoint.data_set == "Dataset007_Torso"
    assert (checkpoint.configuration, checkpoint.fold) == ("2d", 0)
    assert (checkpoint.trainer, checkpoint.epochs) == ("DinoUNetTrainer", 200)
    assert checkpoint.mirror == ("rows", "columns")


def test_a_bare_state_dict_says_nothing_more(tmp_path):
    checkpoint = read_official_checkpoint(write(tmp_path / "weights.pth", STATE))
    assert_holds_state(checkpoint.weights)
    assert (checkpoint.configuration, checkpoint.data_set, checkpoint.epochs) == ("2d", None, None)
    assert checkpoint.mirror == ("rows", "columns")  # the authors' recipe


@pytest.mark.parametrize(("axes", "mirror"), [((0, 1), ("rows", "columns")), ([1], ("columns",)), ((), ()), (None, ())])
def test_the_axes_of_mirroring_are_read(tmp_path, axes, mirror):
    content = checkpoint_of(STATE, inference_allowed_mirroring_axes=axes)
    assert read_official_checkpoint(write(tmp_path / "c.pth", content)).mirror == mirror


def test_facts_of_the_wrong_kind_are_left_out(tmp_path):
    content = checkpoint_of(STATE, current_epoch=-1, trainer_name=["x"], init_args={"plans": 3, "fold": "all"})
    checkpoint = read_official_checkpoint(write(tmp_path / "c.pth", content))
    assert (checkpoint.epochs, checkpoint.trainer, checkpoint.data_set) == (None, None, None)
    assert (checkpoint.fold, checkpoint.configuration) == ("all", "2d")


def renamed(path: Path, old: bytes, new: bytes) -> Path:
    """The same file of torch.save with other names in its pickle."""
    packed = io.BytesIO()
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(packed, "w") as copy:
        for name in archive.namelist():
            content = archive.read(name)
            if name.endswith("data.pkl"):
                assert old in content
                content = content.replace(old, new)
            copy.writestr(name, content)
    path.write_bytes(packed.getvalue())
    return path


@pytest.mark.parametrize("module", ["numpy.core.multiarray", "numpy._core.multiarray"])
def test_numbers_of_numpy_1_and_2_are_passed_over(tmp_path, module):
    path = write(tmp_path / "c.pth", checkpoint_of(STATE))
    written = next(name for name in (b"numpy._core.multiarray", b"numpy.core.multiarray") if name in path.read_bytes())
    assert_holds_state(read_official_checkpoint(renamed(path, written, module.encode())).weights)


def test_files_of_old_versions_of_torch_are_read(tmp_path):
    path = tmp_path / "old.pth"
    torch.save(checkpoint_of(STATE), path, _use_new_zipfile_serialization=False)
    assert_holds_state(read_official_checkpoint(path).weights)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not let a mapped file be written to")
def test_tensors_stay_in_the_file_until_they_are_used(tmp_path):
    state = {"large": torch.zeros(1 << 20)}
    path = write(tmp_path / "c.pth", checkpoint_of(state))
    weights = read_official_checkpoint(path).weights
    # of a mapped file the pages that were not looked at show what is written to it later
    place = path.read_bytes().find(bytes(1 << 20)) + (1 << 19)
    with open(path, "r+b") as file:
        file.seek(place // 4 * 4)
        file.write(np.full(1 << 10, 1.0, np.float32).tobytes())
    assert weights["large"].sum() > 0


# What is refused --------------------------------------------------------------------------------------------------


class Program:
    """Unpickling it makes a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("place", ["network_weights", "logging", "init_args"])
def test_a_program_in_a_checkpoint_is_refused_and_not_run(tmp_path, place):
    made = tmp_path / "made"
    path = write(tmp_path / "c.pth", checkpoint_of(STATE, **{place: {"x": Program(made)}}))
    pickle.loads(pickle.dumps(Program(made)))  # it would do harm
    made.unlink()
    with pytest.raises(UserError, match=r"c\.pth is not loaded, because it holds a pickled \S+") as caught:
        read_official_checkpoint(path)
    assert "\n" not in str(caught.value)
    assert not made.exists()


class Call:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    ("function", "arguments"),
    [(os.system, ("true",)), (eval, ("1",)), (np.frombuffer, (b"1234",)), (np.load, ("x",))],
)
def test_functions_of_the_system_and_of_numpy_are_refused_by_name(tmp_path, function, arguments):
    path = write(tmp_path / "c.pth", checkpoint_of(STATE, logging=Call(function, *arguments)))
    with pytest.raises(UserError, match=rf"pickled \S*{function.__name__}"):
        read_official_checkpoint(path)


def test_what_is_no_checkpoint_is_refused(tmp_path):
    (tmp_path / "text.pth").write_text("hello", encoding="utf-8")
    (tmp_path / "empty.pth").write_bytes(b"")
    with zipfile.ZipFile(tmp_path / "foreign.pth", "w") as archive:
        archive.writestr("readme.txt", "hello")
    for name, message in [
        ("text.pth", "no checkpoint of PyTorch"),
        ("empty.pth", "no checkpoint of PyTorch"),
        ("foreign.pth", "damaged or no checkpoint"),
        ("none.pth", "cannot read"),
        (".", "cannot read"),
    ]:
        with pytest.raises(UserError, match=message) as caught:
            read_official_checkpoint(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kept", [0.02, 0.5, 0.99])
def test_a_truncated_checkpoint_is_refused(tmp_path, kept):
    path = write(tmp_path / "c.pth", checkpoint_of(STATE))
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(UserError, match="damaged"):
        read_official_checkpoint(path)


@pytest.mark.parametrize(
    "content",
    [[1, 2], {}, {"network_weights": {"a": 1}}, {"network_weights": {}}, {"w": torch.empty(2, device="meta")}],
)
def test_a_checkpoint_without_weights_is_refused(tmp_path, content):
    with pytest.raises(UserError, match="no weights of a network"):
        read_official_checkpoint(write(tmp_path / "c.pth", content))
