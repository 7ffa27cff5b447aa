"""A stand-in for 3D Slicer's application, so that the module can be tested without a screen and without Slicer.

Real are the MRML scene, nodes, storage, logics and displayable managers (the wheel slicer-core), `slicer.util` (from
the same wheel), Qt (PySide6) and processes. Doubles stand in for PythonQt's rules, the widgets of CTK and Slicer,
`slicer.app`, ScriptedLoadableModule, parameterNodeWrapper and slicer.packaging, all after their documented behaviour.
Where Slicer only prints a mistake, the host raises or collects it.

    from Host.boot import boot
    host = boot()
    widget = host.load_module("DinoUNetSlicer/DinoUNetSlicer.py").open()

Importing this package sets what PySide6 and VTK read from the environment when they are imported.
"""

import os
import sys

os.environ["PYSIDE6_OPTION_PYTHON_ENUM"] = "0x03"  # enumerations are whole numbers, as in PythonQt
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("MPLBACKEND", "Agg")  # matplotlib must not take this Qt for its own
if sys.platform == "linux":
    os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")
