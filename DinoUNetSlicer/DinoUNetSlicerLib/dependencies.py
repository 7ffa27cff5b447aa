"""The packages that the engine needs when it runs in Slicer's own Python: what is there, and how to get the rest.

Nothing is installed without a click, and never in place of a package that Slicer brings (SimpleITK, NumPy, VTK) or that
the extension PyTorch looks after (torch, torchvision).
"""

import importlib
from importlib import metadata
from types import ModuleType
from typing import Any

from DinoUNetSlicerLib import resource
from DinoUNetSlicerLib.errors import UserError

SHOWN = ("torch", "torchvision", "timm", "safetensors", "huggingface_hub", "psutil", "SimpleITK", "numpy")
SLICERS_OWN = ("SimpleITK", "numpy", "vtk", "torch", "torchvision")


def versions() -> dict[str, str | None]:
    """{package: version, or None if it is not installed} in Slicer's Python; nothing is imported."""
    found: dict[str, str | None] = {}
    for name in SHOWN:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def unmet() -> list[str]:
    """What the engine still needs: packages that are not installed, and "timm>=1.0.20" for one that is too old."""
    missing = _missing()
    try:
        packaging, requirements = _packaging()
    except UserError:  # a Slicer that cannot install can neither tell
        return missing
    found = [requirement for requirement in requirements if requirement.name not in missing]
    return [*missing, *(str(requirement) for requirement in found if not packaging.pip_check(requirement))]


def install() -> None:
    """Install what is missing, and newer versions of what is too old. UserError where Slicer or its extensions cannot.

    torch and torchvision come through the extension PyTorch, which knows which build fits the computer's GPU; the rest
    through Slicer's packaging tools.
    """
    if {"torch", "torchvision"} & set(_missing()):
        _install_torch()
    packaging, requirements = _packaging()
    packaging.pip_ensure(requirements, requester="DinoUNetSlicer", skip_packages=list(SLICERS_OWN))


def _missing() -> list[str]:
    """The packages that are not installed."""
    return [name for name, version in versions().items() if version is None]


def _packaging() -> tuple[ModuleType, list[Any]]:
    """Slicer's packaging tools, and the requirements that are theirs to fulfil."""
    try:
        packaging = importlib.import_module("slicer.packaging")
    except ImportError:
        raise UserError("this Slicer is too old to install Python packages safely; use Slicer 5.11 or newer.") from None
    return packaging, packaging.load_requirements(str(resource("requirements.txt")))


def _install_torch() -> None:
    try:
        utilities = importlib.import_module("PyTorchUtils")
    except ImportError:
        raise UserError(
            "PyTorch is missing, and so is the extension that installs it: install the extension PyTorch with Slicer's "
            "Extensions Manager, restart Slicer and try again."
        ) from None
    if utilities.PyTorchUtilsLogic().installTorch(askConfirmation=True) is None:
        raise UserError("PyTorch was not installed; try again, or see Slicer's error log.")
    if "torchvision" in _missing():
        raise UserError("torchvision is missing although PyTorch is there; install it with the module PyTorch Util.")
