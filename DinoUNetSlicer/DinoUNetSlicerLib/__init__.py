"""What the module DinoUNetSlicer is made of: nodes, widgets and the client of the engine. No torch here.

Importing this package makes DinoUNetCore importable: in the source tree it lies beside the module's folder, in an
installed extension beside the module's file. Of it only parts are used that need no more than NumPy and SimpleITK: the
protocol, the folder of models, and the readers and writers of files.
"""

import sys
from pathlib import Path

ROOT = next(folder for folder in Path(__file__).resolve().parents[1:3] if (folder / "DinoUNetCore").is_dir())
"""The folder that DinoUNetCore lies in."""

if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))


def resource(*parts: str) -> Path:
    """A file of Resources/, wherever this is installed."""
    from DinoUNetCore.resources import resources_folder

    return resources_folder().joinpath(*parts)
