"""The library: the folder of the user's own models. With the embedded ones it is what can be chosen by name.

Needs nothing but the standard library, so that 3D Slicer uses it without torch.
"""

import io
import os
import re
import unicodedata
import zipfile
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from DinoUNetCore.errors import UserError
from DinoUNetCore.resources import resources_folder
from DinoUNetCore.weights import backbone_store
from DinoUNetCore.weights.bundle_files import (
    CONFIG,
    WEIGHTS,
    BundleFiles,
    check_config,
    check_weights,
    copy_out,
    digest,
    opened,
    pack_file,
    stream_sha256,
)
from DinoUNetCore.weights.models_folder import VARIABLE, models_folder, workshop

__all__ = [
    "VARIABLE",
    "Entry",
    "add",
    "check",
    "file_name",
    "find",
    "holder",
    "list_entries",
    "models_folder",
    "pack",
    "remove",
]

_LONGEST_NAME = 100  # bytes in UTF-8: temporary names add to it
_WINDOWS_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True)
class Entry:
    """A model that can be chosen.

    name: of its folder or zip. sha256: of its config.json, by which engines know it. config: the content of that file.
    source: "embedded" or "library". holds_backbone: whether the backbone that it names lies in it. problem: None, or a
    sentence that says why it cannot be used; sha256 and config are empty then.
    """

    name: str
    path: Path
    source: str
    sha256: str = ""
    config: dict[str, Any] = field(default_factory=dict, repr=False)
    holds_backbone: bool = False
    problem: str | None = None


def list_entries() -> list[Entry]:
    """The embedded models, then those of the library, by name. What is damaged is listed with its problem."""
    return [*_embedded(), *_own()]


def find(name: str | os.PathLike) -> Path:
    """A bundle's folder or zip by its path or, if there is no such path, by the name of a model that can be chosen.

    UserError if there is neither.
    """
    path, text = Path(name), os.fspath(name)
    if path.exists():
        return path
    entries = list_entries()
    found = next((entry.path for entry in entries if entry.name == text), None)
    if found is None:
        known = ", ".join(entry.name for entry in entries)
        raise UserError(f"there is no model bundle {text}; give a bundle's folder or zip, or one of: {known}.")
    return found


def holder(title: str) -> str | None:
    """Who has the name of a model: "embedded" or "library", or None if it is free."""
    name = file_name(title)
    return next((entry.source for entry in list_entries() if _is_called(entry, name)), None)


def add(source: str | os.PathLike, overwrite: bool = False) -> Entry:
    """Copy a bundle (a folder, or a zip of its files or of its folder) into the library, under its config's name.

    A backbone that lies in it goes into the store of backbones, where all models find it.

    UserError, and the library's models are as they were: no bundle, an unknown version, weights whose SHA-256 is wrong,
    a name that is taken (by another model of the library: unless `overwrite`), no space.
    """
    source, folder = Path(source), models_folder()
    with opened(source) as bundle:
        data = bundle.read(CONFIG)
        config = check_config(source, data)
        name = file_name(config["name"])
        taken = _clashes(name, config["name"], None if overwrite else digest(data))
        try:
            with workshop() as temporary:
                new = temporary / "bundle"
                new.mkdir()
                sums = {name: _copy(bundle, name, new) for name in bundle.names}
                check_weights(source, sums[WEIGHTS], config)
                backbone_store.receive(bundle, config, temporary)  # whole by itself: it stays if the rest fails
                _put_in_place(new, folder / name, taken, temporary)
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
        with workshop() as temporary:
            os.replace(entry.path, temporary / "old")  # in one step: half a model is never listed
    except OSError as error:
        raise UserError(
            f"cannot delete {entry.path}: {error.strerror or error}; close what uses it and check its permissions."
        ) from error


def check(path: str | os.PathLike) -> None:
    """Read all of a bundle. UserError if it is damaged."""
    path = Path(path)
    with opened(path) as bundle:
        config = check_config(path, bundle.read(CONFIG))
        with bundle.open(WEIGHTS) as file:
            check_weights(path, stream_sha256(file), config)
        if bundle.backbone:
            backbone_store.check_in_bundle(bundle, config)


def pack(path: str | os.PathLike) -> bytes:
    """A bundle as the bytes of one zip, to be sent to an engine, without a backbone that it names.

    UserError if it cannot be read.
    """
    with opened(Path(path)) as bundle:
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for name in bundle.names:
                with bundle.open(name) as file:
                    pack_file(archive, name, file)
        return packed.getvalue()


def file_name(name: str) -> str:
    """A model's name as a folder's name that Windows, macOS and Linux take; letters of every script stay."""
    name = unicodedata.normalize("NFC", name)
    name = "".join("_" if char in '<>:"/\\|?*' or not char.isprintable() else char for char in name)
    name = name.encode("utf-8", "replace")[:_LONGEST_NAME].decode("utf-8", "ignore").lstrip(". ").rstrip(". ")
    return f"_{name}" if not name or _WINDOWS_DEVICES.fullmatch(name) else name


def _entry(path: Path, name: str, source: str) -> Entry:
    try:
        with opened(path) as bundle:
            data = bundle.read(CONFIG)
            return Entry(name, path, source, digest(data), check_config(path, data), bool(bundle.backbone))
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


def _clashes(name: str, title: str, kept: str | None) -> list[Path]:
    """What is in the way of a new model, to be replaced by it.

    kept: the SHA-256 of the new model if others must stay; they are a UserError then. None: they may be replaced.
    """
    if any(_is_called(entry, name) for entry in _embedded()):
        raise UserError(f"a model called {title} comes with the program; give yours another name in its {CONFIG}.")
    taken = [entry for entry in _own() if _is_called(entry, name)]
    if others := [entry.path for entry in taken if kept is not None and entry.sha256 != kept]:
        raise UserError(
            f"the library has a model called {title} already ({others[0]}); remove it, or overwrite it (--overwrite)."
        )
    return [entry.path for entry in taken]


def _is_called(entry: Entry, name: str) -> bool:
    """Whether an entry stands in the way of a new folder of this name, also where letters' case does not count."""
    return unicodedata.normalize("NFC", entry.name).casefold() in (name.casefold(), f"{name}.zip".casefold())


def _copy(bundle: BundleFiles, name: str, folder: Path) -> str:
    with bundle.open(name) as file:
        return copy_out(file, folder / name)


def _put_in_place(new: Path, target: Path, taken: list[Path], temporary: Path) -> None:
    """Rename the finished folder; what it replaces goes with the temporary folder, or back if anything fails."""
    moved: list[tuple[Path, Path]] = []
    try:
        for number, old in enumerate(taken):
            moved.append((old, temporary / f"old-{number}"))
            with suppress(FileNotFoundError):  # another process has replaced it meanwhile
                os.replace(*moved[-1])
        try:
            os.replace(new, target)
        except OSError:
            if not _is_same_model(new, target):  # else another process that adds it was quicker
                raise
    except BaseException:
        for old, aside in moved:
            if aside.exists() and not old.exists():
                os.replace(aside, old)
        raise


def _is_same_model(first: Path, second: Path) -> bool:
    with suppress(OSError):
        return (first / CONFIG).read_bytes() == (second / CONFIG).read_bytes()
    return False
