"""QProcess as PythonQt has it, with real processes."""

import sys

import pytest
import qt
import slicer

ECHO = "import sys; data = sys.stdin.buffer.read(); sys.stdout.buffer.write(data[::-1])"


def start(code: str) -> qt.QProcess:
    process = qt.QProcess(slicer.app)
    process.setProgram(sys.executable)
    process.setArguments(["-c", code])
    process.start()
    return process


def test_bytes_go_to_a_process_and_back(host, scene):
    sent, received, finished = bytes(range(256)) * 4096, [], []
    process = start(ECHO)
    process.connect("readyReadStandardOutput()", lambda: received.append(process.readAllStandardOutput().data()))
    process.connect("finished(int,QProcess::ExitStatus)", lambda code, status: finished.append((code, status)))
    process.write(qt.QByteArray(sent))
    process.closeWriteChannel()
    blocked = host.wait_until(lambda: finished, what="the end of the process")
    assert b"".join(received) == sent[::-1]
    assert finished == [(0, 0)]
    assert blocked < 5


def test_bytes_are_written_only_as_a_byte_array(scene):
    process = start("")
    with pytest.raises(TypeError, match="QByteArray"):
        process.write(b"text")
    process.waitForFinished()


def test_a_killed_process_has_crashed(host, scene):
    process, finished = start("input()"), []
    process.connect("finished(int,QProcess::ExitStatus)", lambda code, status: finished.append((code, status)))
    assert process.waitForStarted()
    process.kill()
    host.wait_until(lambda: finished)
    assert finished[0][1] == 1


def test_a_missing_program_is_error_zero(host, scene):
    errors, process = [], qt.QProcess()
    process.connect("errorOccurred(QProcess::ProcessError)", lambda error: errors.append(error))
    process.start("no-such-program-anywhere", [])
    host.wait_until(lambda: errors)
    assert errors == [0]


def test_a_running_process_is_a_leftover(host, scene):
    process = start("input()")
    assert process.waitForStarted()
    assert "still runs" in host.leftovers()[0]
    process.kill()
    process.waitForFinished()
    assert host.leftovers() == []


def test_the_startup_environment_has_nothing_of_the_launchers(scene, monkeypatch):
    monkeypatch.setenv("PYTHONHOME", "somewhere")
    monkeypatch.setenv("PLANTED", "yes")
    environment = slicer.util.startupEnvironment()
    assert environment["PLANTED"] == "yes"
    assert "PYTHONHOME" not in environment
