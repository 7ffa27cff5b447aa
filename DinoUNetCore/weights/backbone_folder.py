"""A backbone folder: DINOv3 weights under timm's names, with what they are and their licence.

    model.safetensors    or several parts with model.safetensors.index.json
    LICENSE.md           that of the weights
    backbone.json        variant, timm's name if known, SHA-256 of the tensors, size and SHA-256 of each of the files

Needs nothing but the standard library.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from DinoUNetCore.errors import UserError
from DinoUNetCore.files import write_json
from DinoUNetCore.weights.bundle_files import stream_sha256
from DinoUNetCore.weights.license_files import is_license
from DinoUNetCore.weights.tensors_digest import tensors_digest

RECORD, INDEX = "backbone.json", "model.safetensors.index.json"
FORMAT_VERSION = 1
LARGEST_RECORD = 512 << 10  # bytes

_SHA256 = re.compile(r"[0-9a-f]{64}")
_WEIGHTS = re.compile(r"model[\w.-]*\.safetensors", re.ASCII)


@dataclass(frozen=True)
class FileRecord:
    """size: in bytes."""

    sha256: str
    size: int

    def to_json(self) -> dict[str, str | int]:
        return {"sha256": self.sha256, "bytes": self.size}


@dataclass(frozen=True)
class BackboneRecord:
    """The content of backbone.json. sha256: of the tensors, by which bundles name a backbone. files: by their names.

    timm_model: None if it is not known which of timm's weights of this variant they are.
    """

    variant: str
    timm_model: str | None
    sha256: str
    origin: str
    files: dict[str, FileRecord]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files.values())

    @property
    def licenses(self) -> list[str]:
        """The names of the files with their licence."""
        return [name for name in self.files if is_license(name)]

    @property
    def weights(self) -> list[str]:
        """The names of the files with tensors."""
        return [name for name in self.files if _WEIGHTS.fullmatch(name)]

    def to_json(self) -> dict:
        return {
            "format_version": FORMAT_VERSION,
            "variant": self.variant,
            "timm_model": self.timm_model,
            "sha256": self.sha256,
            "origin": self.origin,
            "files": {name: file.to_json() for name, file in self.files.items()},
        }


def is_sha256(text: object) -> bool:
    """Whether it is a hexadecimal SHA-256, and so a harmless name of a folder."""
    return isinstance(text, str) and _SHA256.fullmatch(text) is not None


def parse_record(data: bytes, source: Path | str) -> BackboneRecord:
    """The record in the bytes of a backbone.json; `source` is for messages. UserError if it is none of ours."""
    try:
        value = json.loads(data.decode("utf-8"))
        if value["format_version"] != FORMAT_VERSION:
            raise UserError(
                f"the backbone in {source} has format version {value['format_version']}, and this program knows "
                f"{FORMAT_VERSION} only; update the program or get another one."
            )
        files = {name: FileRecord(file["sha256"], file["bytes"]) for name, file in value["files"].items()}
        record = BackboneRecord(value["variant"], value["timm_model"], value["sha256"], value["origin"], files)
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"the backbone in {source} is damaged: {RECORD} cannot be read ({error}); get it again."
        ) from error
    texts = (record.variant, record.origin, record.timm_model or "")
    sound = {
        "variant, origin, timm_model": all(isinstance(text, str) and text.isprintable() for text in texts),
        "sha256": is_sha256(record.sha256) and all(is_sha256(file.sha256) for file in files.values()),
        "bytes": all(type(file.size) is int and file.size >= 0 for file in files.values()),
        "files": bool(record.weights)
        and all(_WEIGHTS.fullmatch(name) or name == INDEX or is_license(name) for name in files),
    }
    if wrong := ", ".join(name for name, is_sound in sound.items() if not is_sound):
        raise UserError(f"the backbone in {source} is damaged: {RECORD} misstates {wrong}; get it again.")
    return record


def read_record(folder: Path, source: Path | str | None = None) -> BackboneRecord:
    """The record of a backbone folder whose files are there with their sizes. UserError if it is none.

    source: where it came from, for messages, if not from `folder`.
    """
    source = source or folder
    try:
        with (folder / RECORD).open("rb") as file:
            record = parse_record(file.read(LARGEST_RECORD), source)
        sizes = {name: (folder / name).stat().st_size for name in record.files}
    except OSError as error:
        where = Path(error.filename or folder).name
        raise UserError(
            f"the backbone in {source} is damaged: {where} cannot be read ({error.strerror or error}); get it again."
        ) from error
    for name, file in record.files.items():
        if sizes[name] != file.size:
            raise UserError(
                f"the backbone in {source} is damaged: {name} has {sizes[name]:,} instead of {file.size:,} bytes; "
                "get it again."
            )
    return record


def write_record(folder: Path, record: BackboneRecord) -> None:
    """Write the backbone.json of a folder, atomically. UserError if it cannot be written."""
    write_json(folder / RECORD, record.to_json())


def check_files(record: BackboneRecord, opener: Callable[[str], BinaryIO], source: Path | str) -> None:
    """Read all files of a backbone, which `opener` opens by name. UserError if one is not as the record says."""
    for name, expected in record.files.items():
        with opener(name) as file:
            if stream_sha256(file) != expected.sha256:
                raise UserError(f"the backbone in {source} is damaged: {name} has another SHA-256; get it again.")


def check_folder(folder: Path, source: Path | str | None = None) -> BackboneRecord:
    """The record of a backbone folder all of which was read and has the right SHA-256.

    source: as for `read_record`. UserError if something is missing, damaged or another's.
    """
    source = source or folder
    record = read_record(folder, source)
    check_files(record, lambda name: (folder / name).open("rb"), source)
    try:
        found = tensors_digest(folder / name for name in record.weights)
    except ValueError as error:
        raise UserError(f"the backbone in {source} is damaged ({error}); get it again.") from error
    if found != record.sha256:
        raise UserError(
            f"the backbone in {source} does not hold the weights of {record.timm_model or record.variant} that it "
            "announces (the SHA-256 differs); get it again."
        )
    return record
