"""Downloads of models from the hub: what happens when they cannot be finished here."""

import tempfile

import pytest
from Host.scripted.layouts import ROOT

from DinoUNetCore.weights import library
from DinoUNetSlicerLib.errors import Cancelled
from DinoUNetSlicerLib.hub_models import HubDownload

SENDER = f"""
    import sys
    sys.path.insert(0, {str(ROOT)!r})
    from DinoUNetCore.engine.protocol import MAGIC, FrameReader, encode_frame

    def say(data=b"", /, **fields):
        sys.stdout.buffer.write(encode_frame(fields, data))
        sys.stdout.buffer.flush()

    reader = FrameReader()
    sys.stdout.buffer.write(MAGIC)
    sys.stdout.buffer.flush()
    while piece := sys.stdin.buffer.read1(1 << 20):
        reader.feed(piece)
        for frame in reader:
            identity, target = frame.fields["id"], frame.fields.get("target")
            if target is None:
                say(id=identity, event="result", total_bytes=64 << 20)
                for number in range(4):
                    say(bytes(1 << 20), id=identity, event="data", data=number)
            else:
                say(id=target, event="error", code="cancelled", message="cancelled.")
"""
"""An engine that answers a download with the beginning of 64 MiB, and then waits for a cancel."""


@pytest.fixture(autouse=True)
def models(scene, monkeypatch, tmp_path):
    """The user's library: empty."""
    monkeypatch.setenv(library.VARIABLE, str(tmp_path / "models"))


@pytest.fixture
def small_files():
    """No file can have more than 1.5 MiB, as if the disk were full."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3 << 19, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class Outcome:
    """What came of a download."""

    def __init__(self):
        self.names, self.errors = [], []

    def download(self, client, command):
        """Start it."""
        download = HubDownload("hf:somebody/large", self.names.append, self.errors.append)
        download.start(client, command)
        return download


def test_a_full_disk_is_named_and_the_engine_told_to_stop(host, client, program, small_files):
    outcome = Outcome()
    outcome.download(client, program(SENDER))
    host.wait_until(lambda: outcome.errors, 30, "the error")
    assert f"hf:somebody/large cannot be written to {tempfile.gettempdir()}" in str(outcome.errors[0])
    host.wait_until(lambda: not client.busy, 5, "the end of the sending")
    assert client.running  # it has obeyed
    assert len(outcome.errors) == 1


def test_a_download_is_cancelled_while_it_is_sent(host, client, program):
    outcome = Outcome()
    download = outcome.download(client, program(SENDER))
    host.wait_until(lambda: download._folder is not None, 30, "the first data")
    download.cancel()
    host.wait_until(lambda: outcome.errors, 5, "the end")
    assert isinstance(outcome.errors[0], Cancelled) and not outcome.names
    assert not client.busy and client.running
