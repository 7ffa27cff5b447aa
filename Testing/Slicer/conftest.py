"""Fixtures for tests of the module in the host that stands in for 3D Slicer.

The host is started when this file is loaded, so that test files may import qt, ctk, slicer and DinoUNetSlicerLib at
their top. Where the packages for it are missing, the tests of this folder are left out, and the summary says so.
"""

import sys
import textwrap
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


@pytest.fixture
def choices(scene, monkeypatch, tmp_path):
    """The engine on the Python that runs the tests, and an empty library of models."""
    import slicer

    monkeypatch.setenv("DINOUNET_MODELS", str(tmp_path / "models"))
    slicer.app.settings().setValue("DinoUNetSlicer/EngineKind", "python")
    slicer.app.settings().setValue("DinoUNetSlicer/EngineCommand", sys.executable)
    yield
    if "DinoUNetSlicerLib.segmenting" in sys.modules:
        sys.modules["DinoUNetSlicerLib.segmenting"].shared_engine().stop()


@pytest.fixture
def opened(host, choices):
    """The module's Python widget, opened from the source tree."""
    return host.load_source("DinoUNetSlicer").open()


@pytest.fixture
def plant_package(tmp_path, monkeypatch):
    """plant_package(name, version): as if this version of a package were installed in Slicer's Python."""

    def plant(name, version):
        folder = tmp_path / "planted packages" / f"{name}-{version}.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8")
        monkeypatch.syspath_prepend(folder.parent)

    return plant


@pytest.fixture(scope="session")
def phantom():
    """A small phantom CT and its label map."""
    from DinoUNetCore.dataset.phantom import make_phantom

    return make_phantom(1000, size=(96, 96, 60))


@pytest.fixture
def volume(phantom, scene):
    """The phantom CT as a volume node."""
    import numpy as np
    import SimpleITK as sitk
    import slicer

    image, _ = phantom
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "phantom")
    slicer.util.updateVolumeFromArray(node, sitk.GetArrayFromImage(image))
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    matrix[:3, 3] = image.GetOrigin()
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(np.diag([-1.0, -1.0, 1.0, 1.0]) @ matrix))
    node.CreateDefaultDisplayNodes()
    return node


@pytest.fixture
def long_volume(volume):
    """Many slices, so that there is time to cancel."""
    import numpy as np
    import slicer

    slicer.util.updateVolumeFromArray(volume, np.repeat(slicer.util.arrayFromVolume(volume), 12, axis=0))
    return volume


@pytest.fixture
def wait_for_the_end(host):
    """wait_for_the_end(widget, timeout=60): until nothing is being segmented."""

    def wait(widget, timeout=60):
        host.wait_until(lambda: not widget.panel.run.running, timeout, "the end of the segmentation")

    return wait


@pytest.fixture
def remote_command(tmp_path):
    """A command line that starts the engine as ssh would: a banner first, and another folder, environment and home.

    Of the environment, what names a hub for the test is kept.
    """
    from DinoUNetSlicerLib import ROOT

    wrapper = tmp_path / "wrapper of ssh.py"
    wrapper.write_text(
        textwrap.dedent(
            """
            import os, subprocess, sys
            root, home = sys.argv[1:]
            kept = ("PATH", "SYSTEMROOT", "NO_PROXY")
            print("Welcome to gpu-box\\nLast login: yesterday", flush=True)
            os.makedirs(home, exist_ok=True)
            environment = {name: value for name, value in os.environ.items() if name in kept or name.startswith("HF_")}
            environment |= {"PYTHONPATH": root, "HOME": home, "LOCALAPPDATA": home}
            command = [sys.executable, "-m", "DinoUNetCore.worker"]
            sys.exit(subprocess.call(command, cwd=home, env=environment))
            """
        ),
        encoding="utf-8",
    )
    return " ".join(f'"{part}"' for part in (sys.executable, wrapper, ROOT, tmp_path / "home elsewhere"))
