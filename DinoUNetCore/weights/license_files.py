"""The licence of DINOv3 weights, which goes wherever they go: the files that hold it, and the models that need it.

Needs nothing but the standard library.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from DinoUNetCore.errors import UserError

LARGEST_LICENSE = 512 << 10  # bytes

_NAME = re.compile(r"licen[cs]e(\.(md|txt))?", re.ASCII | re.IGNORECASE)
_TITLE = re.compile(rb"dino\s?v3", re.IGNORECASE)


def is_license(name: str) -> bool:
    """Whether a file of this name holds the licence of the weights beside it."""
    return _NAME.fullmatch(name) is not None


def names_dinov3(text: bytes) -> bool:
    """Whether a licence is that of DINOv3 weights, as it says itself."""
    return _TITLE.search(text) is not None


def licenses_in(folder: Path) -> list[Path]:
    """The files of a folder that hold the licence of DINOv3 weights. OSError if they cannot be read."""
    return sorted(path for path in folder.iterdir() if is_license(path.name) and path.is_file() and _is_dinov3s(path))


def check_license_file(path: Path) -> None:
    """UserError unless the file that a user names holds the licence of DINOv3 weights."""
    if not path.is_file():
        raise UserError(f"the licence file {path} does not exist; check the name.")
    if not _is_dinov3s(path):
        raise UserError(f"{path} does not hold the licence of DINOv3 weights as text; name the file that does.")


def free_license_name(path: Path, taken: Iterable[str]) -> str:
    """How a copy of a licence file is called beside files whose names are taken."""
    there = {name.casefold() for name in taken}
    names = (path.name, f"LICENSE{path.suffix}", "LICENSE.md", "LICENSE.txt", "LICENSE", "LICENCE.md", "LICENCE.txt")
    return next(name for name in names if is_license(name) and name.casefold() not in there)


def stores_dinov3(config: dict[str, Any]) -> bool:
    """Whether the tensors of a bundle with this config.json are public DINOv3 weights, or were trained from them."""
    return config["backbone"]["stored"] and config["backbone"].get("source") != "random"


def _is_dinov3s(path: Path) -> bool:
    with path.open("rb") as file:
        return names_dinov3(file.read(LARGEST_LICENSE))
