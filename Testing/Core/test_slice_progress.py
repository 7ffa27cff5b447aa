"""What is shown while slices go through the network: a long run on a CPU is announced once, and nothing else is."""

import time

import pytest

from DinoUNetCore.slice_progress import LONG, SliceProgress

SLICES = 400


def run(on_cpu, seconds, done=1):
    """`seconds` ago the work began; since then so many slices were done."""
    with SliceProgress("scan", on_cpu) as progress:
        progress(0, SLICES)
        progress._started = time.monotonic() - seconds
        for number in (done, done + 1):
            progress(min(number, SLICES), SLICES)


def test_a_long_run_on_a_cpu_is_announced_once_with_its_length(capsys):
    run(True, 9.0)
    printed = capsys.readouterr()
    assert printed.err.count("this will take about") == 1
    assert "scan: this will take about 60 minutes on this computer's CPU.\n" in printed.err
    assert printed.out == ""


@pytest.mark.parametrize(
    ("on_cpu", "seconds", "done"),
    [(False, 9.0, 1), (True, 0.5 * LONG / SLICES, 1), (True, 9.0, SLICES)],
    ids=["on a GPU", "soon done", "done already"],
)
def test_nothing_is_said_of(capsys, on_cpu, seconds, done):
    run(on_cpu, seconds, done)
    assert "this will take" not in capsys.readouterr().err


def test_without_a_terminal_there_is_no_bar(capsys):
    run(False, 0.0)
    assert capsys.readouterr().err == ""
