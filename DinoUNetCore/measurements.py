"""What was measured on this computer once, such as whether compiling pays: a small file in the user's cache folder."""

import os
import sys
from contextlib import suppress
from pathlib import Path

import torch

from DinoUNetCore.errors import UserError
from DinoUNetCore.files import read_json, write_json


def memory_file() -> Path | None:
    """A JSON object {key: whether something pays}; None if the user has no home."""
    try:
        if sys.platform == "win32":
            base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
        elif sys.platform == "darwin":
            base = Path.home() / "Library" / "Caches"
        else:
            base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:
        return None
    return base / "DinoUNet" / "measurements.json"


def key_of(device: torch.device, *facts: object) -> str:
    """What a measurement holds for: the kind of device, torch, and facts on what was measured."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return ", ".join(map(str, (name, f"torch {torch.__version__}", *facts)))


def recalled(file: Path | None, key: str) -> bool | None:
    """Whether it pays; None where that is not known, or the file cannot be read."""
    pays = _read(file).get(key) if file else None
    return pays if isinstance(pays, bool) else None


def remember(file: Path | None, key: str, pays: bool) -> None:
    """Keep it, if the file can be written; else it is measured again."""
    if file:
        with suppress(UserError):
            write_json(file, {**_read(file), key: pays})


def _read(file: Path) -> dict:
    try:
        content = read_json(file)
    except UserError:
        return {}
    return content if isinstance(content, dict) else {}
