"""The lists of files that CMake installs into Slicer are complete: a file that is forgotten is missing there."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def listed(file: Path, name: str) -> set[str]:
    """The entries of `set(name ...)` in a CMake file."""
    text = re.sub(r"#.*", "", file.read_text(encoding="utf-8"))
    return set(re.search(rf"set\({name}\s([^)]*)\)", text)[1].split())


def existing(folder: Path, pattern: str, relative_to: Path) -> set[str]:
    return {path.relative_to(relative_to).as_posix() for path in folder.rglob(pattern)}


def test_every_python_file_of_the_core_is_installed():
    core = existing(ROOT / "DinoUNetCore", "*.py", ROOT)
    assert listed(ROOT / "Resources" / "files.cmake", "CORE_PYTHON_SCRIPTS") == core


def test_every_resource_is_installed():
    resources = {name for name in existing(ROOT / "Resources", "*", ROOT) if (ROOT / name).is_file()}
    # these serve the repository's pages and the build
    resources -= {"Resources/files.cmake", "Resources/demo.png", "Resources/slicer.png"}
    assert listed(ROOT / "Resources" / "files.cmake", "CORE_RESOURCES") == resources


def test_every_python_file_of_the_module_is_installed():
    folder = ROOT / "DinoUNetSlicer"
    assert listed(folder / "CMakeLists.txt", "MODULE_PYTHON_SCRIPTS") == existing(folder, "*.py", folder)


def test_the_module_folder_is_no_package():
    """An __init__.py there would hide the module itself when the repository is on Python's path."""
    assert not (ROOT / "DinoUNetSlicer" / "__init__.py").exists()
