"""The library: the folder of the user's own models. With the embedded ones it is what can be chosen by name.

Needs nothing but the standard library, so that 3D Slicer uses it without torch.
"""

import hashlib
import io
import os
import re
import shutil
import sys
import tempfile
import time
import unicodedata
import zipfile
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from DinoUNetCore.errors import UserError
from DinoUNetCore.files import PARTIAL, give_usual_permissions
from DinoUNetCore.resources import resources_folder
from DinoUNetCore.weights.bundle_files import (
    CONFIG,
    WEIGHTS,
    BundleFiles,
    check_config,
    digest,
    opened,
    reading_problems,
)

VARIABLE = "DINOUNET_MODELS"
"""The environment variable that names another folder."""

_BLOCK = 1 << 20
_ABANDONED = 24 * 3600  # seconds after which unfinished copies were left by a process that was killed
_LONGEST_NAME = 100  # bytes in UTF-8: temporary names add to it
_WINDOWS_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True)
class Entry:
    """A model that can be chosen.

    name: of its folder or zip. sha256: of its config.json, by which engines know it. config: the content of that file.
    source: "embedded" or "library". problem: None, or a sentence that says why it cannot be used; sha256 and config are
    empty then.
    """

    name: str
    path: Path
    source: str
    sha256: str = ""
    config: dict[str, Any] = field(default_factory=dict, repr=False)
    problem: str | None = None


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


def list_entries() -> list[Entry]:
    """The embedded models, then those of the library, by name. What is damaged is listed with its problem."""
    return [*_embedded(), *_own()]


def add(source: str | os.PathLike, overwrite: bool = False) -> Entry:
    """Copy a bundle (a folder, or a zip of its files or of its folder) into the library, under its config's name.

    UserError, and the library is as it was: no bundle, an unknown version, weights whose SHA-256 is wrong, a name that
    is taken (by a model of the library: unless `overwrite`), no space.
    """
    source, folder = Path(source), models_folder()
    with reading_problems(source), opened(source) as bundle:
        config = check_config(source, bundle.read(CONFIG))
        name = file_name(config["name"])
        taken = _clashes(name, config["name"], overwrite)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _remove_abandoned(folder)
            with _temporary_folder(folder) as temporary:
                new = Path(temporary) / "bundle"
                new.mkdir()
                if _copy(bundle, new) != config["weights"]["sha256"]:
                    raise UserError(
                        f"{source} is damaged: the SHA-256 of {WEIGHTS} is not the one in {CONFIG}; get it again."
                    )
                _put_in_place(new, folder / name, taken, Path(temporary))
        except OSError as error:
            raise UserError(
                f"cannot write {folder / name}: {error.strerror or error}; "
                "check the folder, its permissions and the free space."
            ) from error
    return _entry(folder / name, name, "library")


def remove(name: str) -> None:
    """Delete a model of the library and its files. UserError if there is none of that name, or it cannot be deleted."""
    entry = next((entry for entry in _own() if entry.name == name), None)
    if entry is None:
        embedded = any(entry.name == name for entry in _embedded())
        why = "comes with the program and stays" if embedded else "is not in the library"
        raise UserError(f"the model {name} {why}; choose one of {models_folder()}.")
    try:
        with _temporary_folder(entry.path.parent) as temporary:
            os.replace(entry.path, Path(temporary) / "old")  # in one step: half a model is never listed
    except OSError as error:
        raise UserError(
            f"cannot delete {entry.path}: {error.strerror or error}; close what uses it and check its permissions."
        ) from error


def pack(path: str | os.PathLike) -> bytes:
    """A bundle as the bytes of one zip, to be sent to an engine. UserError if it cannot be read."""
    path = Path(path)
    with reading_problems(path), opened(path) as bundle:
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:  # weights do not compress
            for name in bundle.names:
                with bundle.open(name) as file, archive.open(name, "w", force_zip64=True) as copy:
                    shutil.copyfileobj(file, copy, _BLOCK)
        return packed.getvalue()


def file_name(name: str) -> str:
    """A model's name as a folder's name that Windows, macOS and Linux take; letters of every script stay."""
    name = unicodedata.normalize("NFC", name)
    name = "".join("_" if char in '<>:"/\\|?*' or not char.isprintable() else char for char in name)
    name = name.encode("utf-8", "replace")[:_LONGEST_NAME].decode("utf-8", "ignore").lstrip(". ").rstrip(". ")
    return f"_{name}" if not name or _WINDOWS_DEVICES.fullmatch(name) else name


def _entry(path: Path, name: str, source: str) -> Entry:
    try:
        with reading_problems(path), opened(path) as bundle:
            data = bundle.read(CONFIG)
            return Entry(name, path, source, digest(data), check_config(path, data))
    except UserError as error:
        return Entry(name, path, source, problem=str(error))


def _embedded() -> list[Entry]:
    with suppress(OSError):
        folder = resources_folder() / "Models"
        return [_entry(path, path.name, "embedded") for path in sorted(folder.iterdir()) if path.is_dir()]
    return []


def _own() -> list[Entry]:
    try:
        folder = models_folder()
        paths = sorted(folder.iterdir(), key=lambda path: (path.name.casefold(), path.name)) if folder.exists() else []
    except UserError:
        return []
    except OSError as error:
        problem = f"cannot read {folder}: {error.strerror or error}; check it and its permissions."
        return [Entry(folder.name, folder, "library", problem=problem)]
    entries = []
    for path in paths:
        if path.name.startswith("."):
            continue
        is_zip = path.suffix.lower() == ".zip" and not path.is_dir()
        if path.is_dir():
            entries.append(_entry(path, path.name, "library"))
        elif is_zip:
            named_alike = (folder / path.stem).is_dir()
            entries.append(_entry(path, path.name if named_alike else path.stem, "library"))
    return entries


def _clashes(name: str, title: str, overwrite: bool) -> list[Path]:
    """What is in the way of a new model: to be replaced by it if the user wants, else a UserError."""

    def same(entry: Entry) -> bool:
        return unicodedata.normalize("NFC", entry.name).casefold() in (name.casefold(), f"{name}.zip".casefold())

    if any(same(entry) for entry in _embedded()):
        raise UserError(f"a model called {title} comes with the program; give yours another name in its {CONFIG}.")
    taken = [entry.path for entry in _own() if same(entry)]
    if taken and not overwrite:
        raise UserError(f"the library has a model called {title} already ({taken[0]}); remove it or overwrite it.")
    return taken


def _copy(bundle: BundleFiles, folder: Path) -> str:
    """Copy the files; returns the SHA-256 of the weights."""
    sums = {}
    for name in bundle.names:
        total = hashlib.sha256()
        with bundle.open(name) as file, (folder / name).open("wb") as copy:
            while block := file.read(_BLOCK):
                total.update(block)
                copy.write(block)
            copy.flush()
            os.fsync(copy.fileno())
        give_usual_permissions(folder / name)
        sums[name] = total.hexdigest()
    return sums[WEIGHTS]


def _put_in_place(new: Path, target: Path, taken: list[Path], temporary: Path) -> None:
    """Rename the finished folder; what it replaces goes with the temporary folder, or back if that fails."""
    moved: list[tuple[Path, Path]] = []
    try:
        for number, old in enumerate(taken):
            aside = temporary / f"old-{number}"
            os.replace(old, aside)
            moved.append((old, aside))
        os.replace(new, target)
    except OSError:
        for old, aside in moved:
            os.replace(aside, old)
        raise


def _remove_abandoned(folder: Path) -> None:
    for path in folder.glob(f"{PARTIAL}*"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > _ABANDONED:
                shutil.rmtree(path, ignore_errors=True)


def _temporary_folder(parent: Path) -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory(prefix=PARTIAL, dir=parent, ignore_cleanup_errors=True)
