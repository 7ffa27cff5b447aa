"""The module's two layouts."""

from Host.scripted.layouts import install, source_file


def test_an_installed_extension_has_everything_in_one_folder(scene, tmp_path):
    file = install("DinoUNetSlicer", tmp_path)
    folder = tmp_path / "qt-scripted-modules"
    assert file == folder / "DinoUNetSlicer.py"
    names = {entry.name for entry in folder.iterdir()}
    assert names == {"DinoUNetSlicer.py", "DinoUNetSlicerLib", "DinoUNetCore", "Resources"}
    assert file.read_bytes() == source_file("DinoUNetSlicer").read_bytes()
