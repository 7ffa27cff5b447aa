"""The DINOv3 License: asked for once, remembered, and never taken for granted."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from DinoUNetCore.errors import UserError
from DinoUNetCore.weights import license

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    """The folder of a user who has accepted nothing."""
    monkeypatch.setenv("DINOUNET_MODELS", str(tmp_path / "models"))
    monkeypatch.delenv(license.VARIABLE, raising=False)
    monkeypatch.setattr(license, "_accepted_here", False)
    return tmp_path / "models"


def run(program: str, **environment: str) -> subprocess.CompletedProcess:
    """A later process of the same user."""
    command = [sys.executable, "-c", f"from DinoUNetCore.weights import license\n{program}"]
    env = {**os.environ, **environment}
    return subprocess.run(command, cwd=ROOT, env=env, input="y\n", capture_output=True, text=True, timeout=60)


def test_without_consent_the_sentence_says_what_to_read_and_all_ways_to_accept():
    assert not license.is_accepted()
    with pytest.raises(license.LicenseNotAccepted) as caught:
        license.require("the backbone vit_small")
    text = str(caught.value)
    assert text.startswith("the backbone vit_small stands under the DINOv3 License") and "\n" not in text
    for words in (
        license.URL,
        "models license --accept",
        "--accept-dinov3-license",
        license.VARIABLE,
        "--backbone FILE",
    ):
        assert words in text
    assert isinstance(caught.value, UserError)


def test_consent_is_remembered_for_later_processes_and_says_when_it_was_given(folder):
    license.accept()
    license.require("the backbone")
    assert run("print(license.is_accepted())").stdout == "True\n"
    record = json.loads((folder / ".dinov3-license.json").read_text(encoding="utf-8"))
    assert (record["license"], record["url"]) == (license.NAME, license.URL) and record["accepted"].startswith("20")
    assert [path.name for path in folder.iterdir()] == [".dinov3-license.json"]


def test_the_first_consent_stays_as_it_was_given(folder):
    folder.mkdir()
    long_ago = json.dumps({"license": license.NAME, "url": license.URL, "accepted": "2025-09-01T12:00:00+00:00"})
    (folder / ".dinov3-license.json").write_text(long_ago, encoding="utf-8")
    license.accept()
    assert (folder / ".dinov3-license.json").read_text(encoding="utf-8") == long_ago


def test_consent_for_one_process_leaves_nothing_behind(folder):
    license.accept(remember=False)
    assert license.is_accepted() and not folder.exists()
    assert run("print(license.is_accepted())").stdout == "False\n"


@pytest.mark.parametrize(("value", "accepted"), [("1", True), ("0", False), ("", False)])
def test_batch_machines_accept_by_a_variable(monkeypatch, value, accepted):
    monkeypatch.setenv(license.VARIABLE, value)
    assert license.is_accepted() == accepted


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff", b'{"license": "another"}'])
def test_a_damaged_record_is_no_consent_and_can_be_renewed(folder, content):
    folder.mkdir()
    (folder / ".dinov3-license.json").write_bytes(content)
    assert not license.is_accepted()
    license.accept()
    assert run("print(license.is_accepted())").stdout == "True\n"


def test_consent_that_cannot_be_written_down_is_told_and_counts_for_now(folder):
    folder.write_text("in the way", encoding="utf-8")
    with pytest.raises(UserError, match=r"cannot write .*dinov3-license"):
        license.accept()
    assert license.is_accepted()


@pytest.mark.parametrize(
    ("answer", "accepted"),
    [("y\n", True), ("Yes \n", True), ("n\n", False), ("\n", False), ("", False), ("yellow\n", False)],
)
def test_only_a_clear_yes_is_a_yes(folder, answer, accepted):
    shown = io.StringIO()
    assert license.ask(io.StringIO(answer), shown) == accepted
    assert license.URL in shown.getvalue() and shown.getvalue().endswith("[y/N] ")
    assert not folder.exists()


def test_without_a_terminal_nobody_is_asked():
    result = run("license.ask_on_terminal(); print(license.is_accepted())")
    assert (result.stdout, result.stderr) == ("False\n", "")


@pytest.mark.skipif(sys.platform == "win32", reason="has no pseudo-terminals to test with")
def test_at_a_terminal_the_user_is_asked_once():
    import pty

    for expected in ("y/N", ""):
        ours, theirs = pty.openpty()
        os.write(ours, b"y\n")
        program = "from DinoUNetCore.weights import license; license.ask_on_terminal(); print(license.is_accepted())"
        streams = {"stdin": theirs, "stderr": theirs, "stdout": subprocess.PIPE}
        result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, text=True, timeout=60, **streams)
        os.close(theirs)
        shown = os.read(ours, 10_000).decode()
        os.close(ours)
        assert result.stdout == "True\n"
        assert expected in shown and (expected != "") == (license.URL in shown)


def test_it_needs_the_standard_library_only():
    program = "import sys; print({'torch', 'numpy', 'huggingface_hub'} & set(sys.modules))"
    assert run(program).stdout == "set()\n"
