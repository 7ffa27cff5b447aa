"""Dino U-Net: medical image segmentation, slice by slice, on a frozen DINOv3 backbone (arXiv 2508.20909)."""

from importlib import import_module
from typing import Any

_HOMES = {  # loaded when first used: importing the package, and every --help, needs no torch
    "DinoUNet": "DinoUNetCore.network.dino_unet",
    "Segmenter": "DinoUNetCore.inference.segmenter",
    "ModelBundle": "DinoUNetCore.weights.bundle",
    "load_bundle": "DinoUNetCore.weights.bundle_reading",
}

__all__ = ["DinoUNet", "ModelBundle", "Segmenter", "load_bundle"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
