"""The two layouts that the module lives in: the source tree, and an installed extension."""

import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
"""The checkout."""


def source_file(name: str) -> Path:
    """The file of a module in the source tree."""
    return ROOT / name / f"{name}.py"


def install(name: str, folder: Path, beside: tuple[str, ...] = ("DinoUNetCore", "Resources")) -> Path:
    """Copy a module, its libraries and what lies beside its folder into `folder`/qt-scripted-modules.

    Returns the module's file there. In an installed extension all of it lies in that one folder.
    """
    target = folder / "qt-scripted-modules"
    ignore = shutil.ignore_patterns("__pycache__", "*.pyc", "CMakeLists.txt")
    shutil.copytree(ROOT / name, target, ignore=ignore)
    for part in beside:
        shutil.copytree(ROOT / part, target / part, ignore=ignore, dirs_exist_ok=True)
    return target / f"{name}.py"
