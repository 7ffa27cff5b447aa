"""The store of backbones: public DINOv3 weights that came with a bundle or a file, kept once for all models.

Each is a backbone folder, named after the SHA-256 of its tensors. Weights downloaded from the hub are not here but in
its cache. Needs nothing but the standard library, so that 3D Slicer uses it without torch.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from DinoUNetCore.errors import UserError
from DinoUNetCore.files import atomic_path
from DinoUNetCore.weights.backbone_folder import (
    LARGEST_RECORD,
    RECORD,
    BackboneRecord,
    check_files,
    check_folder,
    is_sha256,
    parse_record,
    read_record,
    write_record,
)
from DinoUNetCore.weights.bundle_files import BACKBONE, CONFIG, BundleFiles, copy_out
from DinoUNetCore.weights.models_folder import models_folder, workshop

_FOLDER = ".backbones"


@dataclass(frozen=True)
class StoredBackbone:
    """A backbone of the store. size: bytes on disk. problem: None, or a sentence why it cannot be used.

    variant, timm_model: None if they are not known.
    """

    sha256: str
    path: Path
    variant: str | None
    timm_model: str | None
    size: int
    problem: str | None = None


def store_folder() -> Path:
    """Where the backbones are; it need not exist yet."""
    return models_folder() / _FOLDER


def find(sha256: str) -> Path | None:
    """The backbone folder with these weights, complete as far as its sizes tell; None if there is none."""
    if not is_sha256(sha256):
        return None
    path = store_folder() / sha256
    return path if _entry(path).problem is None else None


def find_named(timm_model: str) -> Path | None:
    """The backbone folder with the weights that timm calls so; None if there is none.

    Only those whose name was known when they came are found: sizes do not tell whose weights they are.
    """
    return next((entry.path for entry in entries() if entry.timm_model == timm_model and not entry.problem), None)


def entries() -> list[StoredBackbone]:
    """All backbones of the store by name. What is damaged is listed with its problem."""
    try:
        paths = [path for path in store_folder().iterdir() if is_sha256(path.name)]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"cannot read {store_folder()}: {error.strerror or error}; check its permissions.") from error
    found = [_entry(path) for path in paths]
    there = [entry for entry in found if entry.path.exists()]  # another process may have removed one meanwhile
    return sorted(there, key=lambda entry: (entry.timm_model or "", entry.sha256))


def put(folder: Path) -> StoredBackbone:
    """Move a backbone folder, made in a `workshop`, into the store after all of it was checked.

    If these weights are there already, they only get what they lack: a licence, a name. UserError if it is damaged.
    OSError if it cannot be moved.
    """
    record = check_folder(folder)
    if (stored := find(record.sha256)) is None:
        return _place(folder, record.sha256)
    _supplement(stored, record, lambda name: (folder / name).open("rb"), folder)
    return _entry(stored)


def receive(bundle: BundleFiles, config: dict[str, Any], temporary: Path) -> None:
    """Put the backbone that lies in a bundle into the store, as `put`; temporary: a `workshop`'s folder.

    Nothing is done for a bundle without one. UserError if it is damaged, not the one that the bundle's config names, or
    cannot be written.
    """
    if not bundle.backbone:
        return
    record = record_in(bundle, config)
    try:
        if (stored := find(record.sha256)) is None:
            _copy_checked(bundle, record, temporary / BACKBONE)
            _place(temporary / BACKBONE, record.sha256)
        else:
            _supplement(stored, record, lambda name: bundle.open(f"{BACKBONE}/{name}"), bundle.source)
    except OSError as error:
        raise UserError(
            f"cannot write the backbone of {bundle.source} into {store_folder()}: {error.strerror or error}; "
            "check the folder, its permissions and the free space."
        ) from error


def check_in_bundle(bundle: BundleFiles, config: dict[str, Any]) -> None:
    """Read all files of the backbone that lies in a bundle. UserError if they are damaged or another's."""
    record = record_in(bundle, config)
    check_files(record, lambda name: bundle.open(f"{BACKBONE}/{name}"), bundle.source)


def record_in(bundle: BundleFiles, config: dict[str, Any]) -> BackboneRecord:
    """The record of the backbone that lies in a bundle. UserError if it is damaged or not the one that config names."""
    if RECORD not in bundle.backbone:
        raise UserError(f"{bundle.source} is damaged: its folder {BACKBONE} has no {RECORD}; get it again.")
    with bundle.open(f"{BACKBONE}/{RECORD}") as file:
        record, named = parse_record(file.read(LARGEST_RECORD), bundle.source), config["backbone"]
    if record.sha256 != named["sha256"] or record.timm_model not in (None, named.get("name")):
        raise UserError(
            f"{bundle.source} is damaged: the backbone in it ({record.timm_model or record.variant}, SHA-256 "
            f"{record.sha256[:12]}...) is not the one that its {CONFIG} names; get it again."
        )
    if missing := sorted(record.files.keys() - set(bundle.backbone)):
        raise UserError(f"{bundle.source} is damaged: its folder {BACKBONE} lacks {missing[0]}; get it again.")
    return record


def remove(sha256: str) -> int:
    """Delete a backbone; returns the bytes that are free now. UserError if there is none, or it cannot be deleted."""
    entry = next((entry for entry in entries() if entry.sha256 == sha256), None)
    if entry is None:
        raise UserError(f"the backbone {sha256} is not in {store_folder()}.")
    try:
        with workshop() as temporary:
            os.replace(entry.path, temporary / "old")
    except OSError as error:
        raise UserError(
            f"cannot delete {entry.path}: {error.strerror or error}; close what uses it and check its permissions."
        ) from error
    return entry.size


def _entry(path: Path) -> StoredBackbone:
    size = _size(path)
    try:
        record = read_record(path)
        if record.sha256 != path.name:
            raise UserError(f"the backbone in {path} is that of another folder; remove it and import it again.")
    except UserError as error:
        return StoredBackbone(path.name, path, None, None, size, str(error))
    return StoredBackbone(path.name, path, record.variant, record.timm_model, size)


def _size(folder: Path) -> int:
    """Bytes of its files; those that another process removes meanwhile do not count."""
    size = 0
    with suppress(OSError):
        for file in folder.iterdir():
            size += file.stat().st_size
    return size


def _copy_checked(bundle: BundleFiles, record: BackboneRecord, target: Path) -> None:
    """Copy a bundle's backbone to the new folder `target` and check it."""
    target.mkdir()
    for name in (*record.files, RECORD):
        with bundle.open(f"{BACKBONE}/{name}") as file:
            copy_out(file, target / name)
    check_folder(target, bundle.source)


def _place(folder: Path, sha256: str) -> StoredBackbone:
    """Rename a checked backbone folder into its place."""
    target = store_folder() / sha256
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists() and find(sha256) is None:
        with suppress(FileNotFoundError):  # another process may mend it, too
            os.replace(target, folder.parent / "damaged")  # goes with the workshop
    try:
        os.replace(folder, target)
    except OSError:
        if find(sha256) is None:  # else another process was quicker
            raise
    return _entry(target)


def _supplement(stored: Path, new: BackboneRecord, opener: Callable[[str], BinaryIO], source: Path | str) -> None:
    """Give a backbone of the store what it lacks and the same weights from elsewhere have: a licence, timm's name.

    opener: opens the files of `new` by name. UserError if the licence is damaged.
    """
    old = read_record(stored)
    licenses = {} if old.licenses else {name: new.files[name] for name in new.licenses}
    for name, expected in licenses.items():
        with opener(name) as file, atomic_path(stored / name) as temporary:
            if copy_out(file, temporary) != expected.sha256:
                raise UserError(f"the backbone in {source} is damaged: {name} has another SHA-256; get it again.")
    whole = replace(old, files=old.files | licenses, timm_model=old.timm_model or new.timm_model)
    if whole != old:
        write_record(stored, whole)
