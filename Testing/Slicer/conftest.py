"""Fixtures for tests of the module in the host that stands in for 3D Slicer.

The host is started when this file is loaded, so that test files may import qt, ctk, slicer and DinoUNetSlicerLib at
their top. Where the packages for it are missing, the tests of this folder are left out, and the summary says so.
"""

import sys
from pathlib import Path

import pytest
from Host import boot

MISSING = boot.missing_packages()

if not MISSING:
    boot.boot()
    sys.path.append(str(Path(__file__).resolve().parents[2] / "DinoUNetSlicer"))


def pytest_ignore_collect():
    """Leave out what cannot even be imported."""
    return True if MISSING else None


def pytest_terminal_summary(terminalreporter):
    """Say what was left out, and why."""
    if MISSING:
        terminalreporter.write_line(f"Testing/Slicer was left out: it needs {', '.join(MISSING)}.")


@pytest.fixture(scope="session")
def host():
    """The running host; see Host.host.Host. Tests that change anything want `scene`."""
    return boot.boot()


@pytest.fixture
def scene(host):
    """The empty scene of a host as after its start; afterwards everything is closed.

    Fails when a slot, an observer or VTK has failed silently, a child process still runs, a planned answer was not
    wanted, or an override cursor is left. Faults that a test expects it takes (host.faults.take_slots() and others).
    """
    from Host import processes
    from Host.faults import collecting_observers

    host.reset()
    children = processes.child_ids()
    with collecting_observers():
        yield host.scene
        leftovers = host.leftovers()
        host.unload_modules()
        host.process_events()
    leftovers += [f"the child process {child} still runs" for child in sorted(processes.child_ids() - children)]
    report = host.faults.report()
    host.reset()
    if leftovers or report:
        pytest.fail("\n".join([*leftovers, report]), pytrace=False)
