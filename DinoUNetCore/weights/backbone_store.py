"""The store of backbones: public DINOv3 weights that came with a bundle or a file, kept once for all models.

Each is a backbone folder, named after the SHA-256 of its tensors. Weights downloaded from the
hub are not here but in its cache. Needs nothing but the standard library, so that 3D Slicer uses it without torch.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from DinoUNetCore.errors import UserError
from DinoUNetCore.weights.backbone_folder import (
    LARGEST_RECORD,
    RECORD,
    BackboneRecord,
    check_files,
    check_folder,
    is_sha256,
    parse_record,
    read_record,
)
from DinoUNetCore.weights.bundle_files import BACKBONE, CONFIG, BundleFiles, copy_out
from DinoUNetCore.weights.models_folder import models_folder, workshop

_FOLDER = ".backbones"


@dataclass(frozen=True)
class StoredBackbone:
    """A backbone of the store. size: bytes on disk. problem: None, or a sentence why it cannot be used."""

    sha256: str
    path: Path
    variant: str
    timm_model: str
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
    """The backbone folder with the weights that timm calls so; None if there is none."""
    return next((entry.path for entry in entries() if entry.timm_model == timm_model and not entry.problem), None)


def entries() -> list[StoredBackbone]:
    """All backbones of the store by name. What is damaged is listed with its problem."""
    try:
        paths = [path for path in store_folder().iterdir() if is_sha256(path.name)]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"cannot read {store_folder()}: {error.strerror or error}; check its permissions.") from error
    return sorted((_entry(path) for path in paths), key=lambda entry: (entry.timm_model, entry.sha256))


def put(folder: Path) -> StoredBackbone:
    """Move a backbone folder, made in a `workshop`, into the store after all of it was checked.

    UserError if it is damaged. OSError if it cannot be moved.
    """
    record = check_folder(folder)
    return _put_checked(folder, record.sha256)


@contextmanager
def receiving(bundle: BundleFiles, config: dict[str, Any], temporary: Path) -> Iterator[None]:
    """Put the backbone that lies in a bundle into the store; if what follows in the block fails, it is taken out again.

    Nothing is done for a bundle without one, and for one that the store has. temporary: a `workshop`'s folder.
    UserError if it is damaged, not the one that the bundle's config names, or cannot be written.
    """
    new = None
    if bundle.backbone:
        try:
            new = _copy_checked(bundle, config, temporary / BACKBONE)
            if new is not None:
                _put_checked(temporary / BACKBONE, new)
        except OSError as error:
            raise UserError(
                f"cannot write the backbone of {bundle.path} into {store_folder()}: {error.strerror or error}; "
                "check the folder, its permissions and the free space."
            ) from error
    try:
        yield
    except BaseException:
        if new is not None:
            with suppress(OSError):  # it is whole, and only takes space
                os.replace(store_folder() / new, temporary / f"{BACKBONE} again")
        raise


def check_in_bundle(bundle: BundleFiles, config: dict[str, Any]) -> None:
    """Read all files of the backbone that lies in a bundle. UserError if they are damaged or another's."""
    record = _record_in(bundle, config)
    check_files(record, lambda name: bundle.open(f"{BACKBONE}/{name}"), bundle.path)


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
    size = sum(file.stat().st_size for file in path.iterdir()) if path.is_dir() else 0
    try:
        record = read_record(path)
        if record.sha256 != path.name:
            raise UserError(f"the backbone in {path} is that of another folder; remove it and import it again.")
    except UserError as error:
        return StoredBackbone(path.name, path, "", "", size, str(error))
    return StoredBackbone(path.name, path, record.variant, record.timm_model, size)


def _record_in(bundle: BundleFiles, config: dict[str, Any]) -> BackboneRecord:
    if RECORD not in bundle.backbone:
        raise UserError(f"{bundle.path} is damaged: its folder {BACKBONE} has no {RECORD}; get it again.")
    with bundle.open(f"{BACKBONE}/{RECORD}") as file:
        record = parse_record(file.read(LARGEST_RECORD), bundle.path)
    if record.sha256 != config["backbone"]["sha256"]:
        raise UserError(
            f"{bundle.path} is damaged: the backbone in it ({record.variant}) is not the one that its {CONFIG} names; "
            "get it again."
        )
    if missing := sorted(record.files.keys() - set(bundle.backbone)):
        raise UserError(f"{bundle.path} is damaged: its folder {BACKBONE} lacks {missing[0]}; get it again.")
    return record


def _copy_checked(bundle: BundleFiles, config: dict[str, Any], target: Path) -> str | None:
    """Copy a bundle's backbone to the new folder `target` and check it; returns its SHA-256, or None if it is known."""
    record = _record_in(bundle, config)
    if find(record.sha256):
        return None
    target.mkdir()
    for name in (*record.files, RECORD):
        with bundle.open(f"{BACKBONE}/{name}") as file:
            copy_out(file, target / name)
    check_folder(target, bundle.path)
    return record.sha256


def _put_checked(folder: Path, sha256: str) -> StoredBackbone:
    target = store_folder() / sha256
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists() and find(sha256) is None:
        os.replace(target, folder.parent / "damaged")  # goes with the workshop
    try:
        os.replace(folder, target)
    except OSError:
        if find(sha256) is None:  # else another process was quicker
            raise
    return _entry(target)
