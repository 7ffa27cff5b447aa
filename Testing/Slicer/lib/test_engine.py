"""The client of the engine against real processes: the engine itself, and programs that misbehave."""

import os
import sys
from pathlib import Path

import pytest
import slicer

from DinoUNetSlicerLib.engine_command import COMMAND_LINE, OTHER_PYTHON, EngineCommand, make_command, split_command
from DinoUNetSlicerLib.errors import UserError


class Answers:
    """A callback that keeps what it gets."""

    def __init__(self):
        self.events = []

    def __call__(self, event, data):
        self.events.append((event, bytes(data)))

    @property
    def ended(self):
        return bool(self.events) and self.events[-1][0]["event"] in ("result", "error")

    @property
    def last(self):
        return self.events[-1][0]


def ask(client, command, host, fields=None, data=None):
    answers = Answers()
    client.request(command, fields or {"request": "hello"}, answers, data)
    host.wait_until(lambda: answers.ended, 60, "the answer")
    return answers


def test_the_engine_answers_and_stays_warm(client, engine, host):
    from DinoUNetSlicerLib.engine_command import load_choice

    command = make_command(*load_choice())
    first = ask(client, command, host).last
    assert first["event"] == "result"
    assert {"torch", "timm", "SimpleITK"} <= set(first["versions"])
    assert "cpu" in [device["name"] for device in first["devices"]]
    process = client._process
    assert ask(client, command, host).last["event"] == "result"
    assert client._process is process


def test_a_program_that_cannot_be_started_is_named(client, host):
    answers = ask(client, EngineCommand("no-such-program-anywhere", (), True), host)
    assert "cannot be started: no-such-program-anywhere" in answers.last["message"]
    assert not client.running


def test_a_request_that_cannot_be_sent_leaves_the_client_idle(client, engine, host):
    with pytest.raises(TypeError):
        client.request(EngineCommand(sys.executable, None, True), {"request": "hello"}, Answers())
    assert not client.busy and not client.running
    from DinoUNetSlicerLib.engine_command import load_choice

    assert ask(client, make_command(*load_choice()), host).last["event"] == "result"


def test_an_engine_that_dies_is_reported_with_its_last_words(client, host, program):
    answers = ask(client, program("import sys; sys.stderr.write('no torch here\\n'); sys.exit(7)"), host)
    assert "ended unexpectedly (exit code 7): no torch here" in answers.last["message"]
    assert not client.busy


def test_of_an_engine_that_crashes_memory_is_suspected(client, host, program):
    answers = ask(client, program("import os; os.abort()"), host)
    assert "perhaps as memory ran out; try again" in answers.last["message"]
    launcher = """
        import sys
        sys.stderr.write("loading the model\\n[/opt/Slicer/bin/python-real] exit abnormally - Report the problem.\\n")
        sys.exit(1)
    """
    answers = ask(client, program(launcher), host)
    assert "(exit code 1), perhaps as memory ran out: loading the model" in answers.last["message"]


def test_after_a_death_the_next_request_starts_a_new_engine(client, engine, host, program):
    ask(client, program("import sys; sys.exit(7)"), host)
    from DinoUNetSlicerLib.engine_command import load_choice

    assert ask(client, make_command(*load_choice()), host).last["event"] == "result"


def test_what_is_no_engine_is_not_understood(client, host, program):
    source = "import sys, time; sys.stdout.write('hello\\n' * 40000); sys.stdout.flush(); time.sleep(60)"
    answers = ask(client, program(source), host)
    assert "not understood" in answers.last["message"]
    assert not client.running


def test_an_engine_of_another_version_is_refused(client, host, program):
    answers = ask(client, program("import time; print('DINOUNET-ENGINE 99', flush=True); time.sleep(60)"), host)
    assert "version" in answers.last["message"]


def test_an_engine_that_ignores_a_cancel_is_ended(client, host, program):
    deaf = """
        import sys, time
        print("DINOUNET-ENGINE 1", flush=True)
        time.sleep(60)
    """
    answers = Answers()
    identity = client.request(program(deaf), {"request": "hello"}, answers)
    host.process_events(0.3)
    client.cancel(identity)
    host.wait_until(lambda: answers.ended, 5, "the end")
    assert answers.last["code"] == "cancelled"
    assert not client.running


def test_data_waits_for_an_engine_that_does_not_read(client, host, program):
    deaf = """
        import time
        print("DINOUNET-ENGINE 1", flush=True)
        time.sleep(60)
    """
    taken = []

    def pieces():
        for number in range(200):
            taken.append(number)
            yield bytes(1 << 20)

    client.request(program(deaf), {"request": "segment"}, Answers(), pieces())
    host.process_events(0.5)
    assert len(taken) <= 8  # what is under way is bounded, not the 200 MB of the volume


def test_data_that_cannot_be_had_ends_its_request_alone(client, engine, host):
    from DinoUNetSlicerLib.engine_command import load_choice

    command = make_command(*load_choice())
    ask(client, command, host)
    process = client._process

    def pieces():
        yield bytes(1000)
        raise UserError("the disk has gone.")

    put = {"request": "models", "action": "put", "sha256": "ab" * 32, "total_bytes": 5000}
    answers = ask(client, command, host, put, pieces())
    assert answers.last["message"] == "the disk has gone."
    assert len(answers.events) == 1
    put["total_bytes"] = 1000  # the engine does not wait for the rest of the first one
    answers = ask(client, command, host, put, iter([bytes(1000)]))
    assert answers.last["code"] == "bad_input"
    assert client._process is process


@pytest.mark.parametrize("name", ["json", "torch"])
def test_files_in_slicers_current_folder_are_not_taken_for_libraries(
    client, engine, host, tmp_path, monkeypatch, name
):
    from DinoUNetSlicerLib.engine_command import load_choice

    (tmp_path / f"{name}.py").write_text("raise SystemExit('a file of the user was run')", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert ask(client, make_command(*load_choice()), host).last["event"] == "result"


def test_interpreters_are_looked_for_where_slicer_was_started(scene, monkeypatch):
    own = Path(slicer.app.slicerHome) / "bin"
    name = "planted.exe" if os.name == "nt" else "planted"
    planted = own / name
    planted.write_text("", encoding="utf-8")
    planted.chmod(0o755)
    monkeypatch.setenv("PATH", os.pathsep.join([str(own), str(Path(sys.executable).parent)]))
    try:
        with pytest.raises(UserError, match="no interpreter planted"):
            make_command(OTHER_PYTHON, "planted")
        # So does Windows spell it.
        monkeypatch.setattr(slicer.util, "startupEnvironment", lambda: {"Path": os.environ["PATH"]})
        with pytest.raises(UserError, match="no interpreter planted"):
            make_command(OTHER_PYTHON, "planted")
        assert make_command(OTHER_PYTHON, Path(sys.executable).name).program
    finally:
        planted.unlink()


def test_a_wrapper_that_prints_a_banner_and_changes_folder_works(client, remote_command, host):
    assert ask(client, make_command(COMMAND_LINE, remote_command), host).last["event"] == "result"


@pytest.mark.parametrize(
    ("text", "windows", "words"),
    [
        ("ssh gpu-box python -m DinoUNetCore.worker", False, ["ssh", "gpu-box", "python", "-m", "DinoUNetCore.worker"]),
        (r'"C:\Program Files\Python\python.exe" -m x', True, [r"C:\Program Files\Python\python.exe", "-m", "x"]),
        ("docker run -i 'my image' sh -c \"a b\" # no comment", False, ["docker", "run", "-i", "my image", "sh", "-c",
         "a b", "#", "no", "comment"]),
    ],
)  # fmt: skip
def test_command_lines_are_split_as_people_write_them(text, windows, words):
    assert split_command(text, windows) == words


def test_an_unreadable_command_line_is_refused():
    with pytest.raises(UserError, match="cannot be read"):
        make_command(COMMAND_LINE, 'ssh "gpu-box')
    with pytest.raises(UserError, match="no engine is named"):
        make_command(COMMAND_LINE, "  ")
    assert os.path.basename(make_command(COMMAND_LINE, "ssh box").program).startswith("ssh")
