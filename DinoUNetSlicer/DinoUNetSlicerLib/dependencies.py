"""The packages that the engine needs when it runs in Slicer's own Python: what is there, and how to get the rest.

Nothing is installed without a click, and never in place of a package that Slicer brings (SimpleITK, NumPy, VTK) or that
the extension PyTorch looks after (torch, torchvision).
"""

import importlib
from importlib import metadata

from DinoUNetSlicerLib import resource
from DinoUNetSlicerLib.errors import UserError

SHOWN = ("torch", "torchvision", "timm", "safetensors", "huggingface_hub", "SimpleITK", "numpy")
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


def missing() -> list[str]:
    """The packages that are not installed."""
    return [name for name, version in versions().items() if version is None]


def install() -> None:
    """Install what is missing. UserError where this Slicer or its extensions cannot.

    torch and torchvision come through the extension PyTorch, which knows which build fits the computer's GPU; the rest
    through Slicer's packaging tools.
    """
    if {"torch", "torchvision"} & set(missing()):
        _install_torch()
    try:
        packaging = importlib.import_module("slicer.packaging")
    except ImportError:
        raise UserError("this Slicer is too old to install Python packages safely; use Slicer 5.11 or newer.") from None
    packaging.pip_ensure(
        packaging.load_requirements(str(resource("requirements.txt"))),
        requester="DinoUNetSlicer",
        skip_packages=list(SLICERS_OWN),
    )


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
    if "torchvision" in missing():
        raise UserError("torchvision is missing although PyTorch is there; install it with the module PyTorch Util.")
