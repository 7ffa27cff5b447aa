"""The worker command: quick help, a hint for people, and nothing left behind when it is killed."""

import subprocess
import sys
from pathlib import Path

import pytest
from engine_client import EngineProcess, describe

from DinoUNetCore.dataset.phantom import make_phantom

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments):
    line = [sys.executable, "-m", "DinoUNetCore.worker", *arguments]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)


def test_help_says_what_it_is_for():
    result = run("--help")
    assert result.returncode == 0
    assert "PROTOCOL.md" in result.stdout and "DINOUNET_MODELS" in result.stdout


def test_an_unknown_option_is_a_mistake_of_the_user():
    result = run("--port", "80")
    assert result.returncode == 2 and result.stderr.startswith("error: ")


def test_without_input_it_says_its_first_line_at_most_and_ends_with_0():
    result = run()
    assert result.returncode == 0 and result.stdout in ("DINOUNET-ENGINE 1\n", "")
    assert result.stderr == ""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo terminal")
def test_a_person_at_a_terminal_is_told_what_it_waits_for():
    import pty

    _, terminal = pty.openpty()
    line = [sys.executable, "-m", "DinoUNetCore.worker"]
    process = subprocess.Popen(line, cwd=ROOT, stdin=terminal, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        assert b"waits for a program" in process.stderr.readline()
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def test_a_killed_engine_leaves_no_files(tmp_path):
    for name in ("temporary", "models", "home"):
        (tmp_path / name).mkdir()
    places = {name: str(tmp_path / "temporary") for name in ("TMPDIR", "TEMP", "TMP")}
    engine = EngineProcess(environment={**places, "DINOUNET_MODELS": str(tmp_path / "models")})
    try:
        image = make_phantom(3, size=(32, 32, 64))[0]
        engine.start_segmentation([describe(image)], {"name": "phantom-tiny"})
        while engine.next().fields.get("stage") != "segmenting":
            pass
    finally:
        engine.end()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
