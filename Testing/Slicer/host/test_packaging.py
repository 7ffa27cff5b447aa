"""The double of slicer.packaging."""

import pytest
import slicer.packaging
from packaging.requirements import InvalidRequirement


def test_requirements_are_read_and_wanted_packages_recorded(host, scene, tmp_path):
    path = tmp_path / "requirements.txt"
    path.write_text("# needed\n--no-index\npytest\n\nno-such-a>=1.0.20\n  no-such-b\n", encoding="utf-8")
    requirements = slicer.packaging.load_requirements(str(path))
    slicer.packaging.pip_ensure(requirements, requester="DinoUNetSlicer", skip_packages=["numpy"])
    (request,) = host.packaging.requests
    assert request.requirements == ["no-such-a>=1.0.20", "no-such-b"]
    assert (request.options["requester"], request.options["skip_packages"]) == ("DinoUNetSlicer", ["numpy"])


def test_a_comment_behind_a_requirement_is_no_requirement(scene, tmp_path):
    path = tmp_path / "requirements.txt"
    path.write_text("timm>=1.0.20  # networks\n", encoding="utf-8")
    with pytest.raises(InvalidRequirement):
        slicer.packaging.load_requirements(path)


def test_nothing_is_wanted_if_all_is_there_or_slicer_is_tested(host, scene, monkeypatch):
    host.packaging.decline()
    assert slicer.packaging.pip_ensure(["pytest"]) is None
    monkeypatch.setattr(host.app, "_host_testing", True)
    assert slicer.packaging.pip_ensure(["no-such-package"]) is None
    assert not host.packaging.requests
    with pytest.raises(RuntimeError, match="declined"):
        slicer.packaging.pip_ensure(["no-such-package"], skip_in_testing=False)


def test_the_user_may_decline(host, scene):
    host.packaging.decline()
    with pytest.raises(RuntimeError, match="declined"):
        slicer.packaging.pip_ensure("no-such-package")


def test_what_is_installed_is_known(scene):
    assert slicer.packaging.pip_check("pytest>=1")
    assert not slicer.packaging.pip_check("pytest>=9999")
    assert not slicer.packaging.pip_check(["no-such-package-anywhere"])


def test_unknown_options_are_caught(scene):
    with pytest.raises(TypeError):
        slicer.packaging.pip_ensure("timm", prompt=False)
    with pytest.raises(TypeError):
        slicer.packaging.pip_ensure("timm", no_deps_requirements=[])


def test_slicer_utils_installer_is_the_same(host, scene):
    slicer.util.pip_install("timm")
    assert host.packaging.requests[0].function == "pip_install"
