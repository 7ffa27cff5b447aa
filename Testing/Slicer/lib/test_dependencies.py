"""The packages that the engine needs in Slicer's own Python."""

import slicer.packaging

from DinoUNetSlicerLib import dependencies, resource


def test_all_that_is_required_is_shown(scene):
    required = {requirement.name for requirement in slicer.packaging.load_requirements(resource("requirements.txt"))}
    assert required <= set(dependencies.versions())


def test_an_old_package_of_another_extension_is_unmet_and_replaced(host, scene, plant_package):
    assert dependencies.unmet() == []
    plant_package("timm", "0.9.2")
    assert dependencies.versions()["timm"] == "0.9.2"
    assert dependencies.unmet() == ["timm>=1.0.20"]
    dependencies.install()
    (request,) = host.packaging.requests
    assert request.requirements == ["timm>=1.0.20"]


def test_what_is_there_already_is_not_asked_for(host, scene):
    dependencies.install()
    assert not host.packaging.requests
