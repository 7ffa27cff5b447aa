"""The double of slicer.packaging."""

import pytest
import slicer.packaging


def test_requirements_are_read_and_wanted_packages_recorded(host, scene, tmp_path):
    path = tmp_path / "requirements.txt"
    path.write_text("# what the engine needs\ntimm>=1.0.20\n\nsafetensors  # small\n", encoding="utf-8")
    requirements = slicer.packaging.load_requirements(str(path))
    slicer.packaging.pip_ensure(requirements, requester="DinoUNetSlicer", skip_packages=["numpy"])
    (request,) = host.packaging.requests
    assert request.requirements == ["timm>=1.0.20", "safetensors"]
    assert (request.options["requester"], request.options["skip_packages"]) == ("DinoUNetSlicer", ["numpy"])


def test_the_user_may_decline(host, scene):
    host.packaging.decline()
    with pytest.raises(RuntimeError, match="declined"):
        slicer.packaging.pip_ensure("timm")


def test_what_is_installed_is_known(scene):
    assert slicer.packaging.pip_check("pytest>=1")
    assert not slicer.packaging.pip_check("pytest>=9999")
    assert not slicer.packaging.pip_check(["no-such-package-anywhere"])


def test_unknown_options_are_caught(scene):
    with pytest.raises(TypeError):
        slicer.packaging.pip_ensure("timm", prompt=False)


def test_slicer_utils_installer_is_the_same(host, scene):
    slicer.util.pip_install("timm")
    assert host.packaging.requests[0].function == "pip_install"
