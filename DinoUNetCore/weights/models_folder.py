"""The folder of the user's own models and backbones, which all commands and 3D Slicer share."""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from DinoUNetCore.errors import UserError
from DinoUNetCore.files import PARTIAL

VARIABLE = "DINOUNET_MODELS"
"""The environment variable that names another folder."""

_ABANDONED = 24 * 3600  # seconds after which unfinished copies were left by a process that was killed


def models_folder() -> Path:
    """Where the user's models are kept; it need not exist yet. UserError if the user has no home."""
    if os.environ.get(VARIABLE):
        return Path(os.environ[VARIABLE]).expanduser()
    try:
        if sys.platform == "win32":
            base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
        elif sys.platform == "darwin":
            base = Path.home() / "Library" / "Application Support"
        else:
            base = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    except RuntimeError as error:
        raise UserError(f"there is no home folder to keep models in; name a folder by {VARIABLE}.") from error
    return base / "DinoUNet" / "Models"


@contextmanager
def workshop() -> Iterator[Path]:
    """A temporary folder in the models folder: what is made in it is put in place by renaming, the rest is deleted.

    UserError if nothing can be written there.
    """
    folder = models_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(folder)
        temporary = tempfile.TemporaryDirectory(prefix=PARTIAL, dir=folder, ignore_cleanup_errors=True)
    except OSError as error:
        raise UserError(
            f"cannot write into the folder of models {folder}: {error.strerror or error}; check it, its permissions "
            f"and the free space, or name another one by {VARIABLE}."
        ) from error
    with temporary as path:
        yield Path(path)


def _remove_abandoned(folder: Path) -> None:
    for path in folder.glob(f"{PARTIAL}*"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > _ABANDONED:
                shutil.rmtree(path, ignore_errors=True)
