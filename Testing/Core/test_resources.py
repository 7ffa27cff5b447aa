import importlib.util
import shutil
from pathlib import Path

import pytest

import DinoUNetCore.resources as real

PACKAGE = "DinoUNetCore"


def installed(site: Path):
    """The module `resources` of a package that was installed into the folder `site`."""
    (site / PACKAGE).mkdir(parents=True, exist_ok=True)
    copy = shutil.copy(real.__file__, site / PACKAGE)
    spec = importlib.util.spec_from_file_location("copied_resources", copy)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def put_models(folder: Path) -> Path:
    (folder / "Models").mkdir(parents=True)
    return folder


def test_in_the_source_tree_they_lie_beside_the_package():
    root = Path(real.__file__).resolve().parents[1]
    assert real.resources_folder() == root / "Resources"
    assert (real.resources_folder() / "Models" / "README.md").is_file()


def test_in_an_installed_extension_they_lie_beside_the_modules_file(tmp_path):
    modules = tmp_path / "lib" / "Slicer-5.8" / "qt-scripted-modules"
    module = installed(modules)
    (modules / "DinoUNetSlicer.py").touch()
    expected = put_models(modules / "Resources")
    assert module.resources_folder() == expected


def test_in_a_wheel_they_lie_inside_the_package(tmp_path):
    module = installed(tmp_path / "site-packages")
    expected = put_models(tmp_path / "site-packages" / PACKAGE / "Resources")
    assert module.resources_folder() == expected


def test_a_folder_resources_of_someone_else_is_not_taken(tmp_path):
    module = installed(tmp_path)
    (tmp_path / "Resources" / "Icons").mkdir(parents=True)
    expected = put_models(tmp_path / PACKAGE / "Resources")
    assert module.resources_folder() == expected


def test_an_incomplete_installation_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="install the package again"):
        installed(tmp_path).resources_folder()
