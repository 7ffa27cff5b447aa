"""The files of a bundle as they lie in a folder or zip, and what can be said of them without torch."""

import hashlib
import io
import json
import os
import re
import stat
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO

from DinoUNetCore.errors import UserError
from DinoUNetCore.files import give_usual_permissions
from DinoUNetCore.weights.license_files import is_license

FORMAT_VERSION, READABLE_VERSIONS = 2, (1, 2)
"""What is written, and what is read. 2 added ensembles, postprocessing, several planes and regions."""
CONFIG, WEIGHTS, CARD, CURVES = "config.json", "model.safetensors", "README.md", "curves.png"
BACKBONE = "backbone"
"""The sub-folder with the backbone that the bundle names, in bundles made to travel."""
LARGEST_CONFIG = 512 << 10  # bytes, and of the texts

_BLOCK = 1 << 20  # bytes copied at once
_LONGEST_LABEL = 200  # letters
_MOST_ENTRIES = 1000
_EXPANSION = 20  # bytes out of one byte of a zip; trained weights stay below 3
_FREE_EXPANSION = 16 << 20  # bytes: texts shrink more, and are small
_DRIVE = re.compile(r"[A-Za-z]:")
_PLANES = {"axial", "coronal", "sagittal"}  # geometry.PLANES, which needs SimpleITK
_LOOSE_WEIGHTS = (".safetensors", ".pth", ".pt", ".bin")


def digest(config: bytes) -> str:
    """By which a bundle is known: the SHA-256 of the bytes of its config.json."""
    return hashlib.sha256(config).hexdigest()


@dataclass(frozen=True)
class BundleFiles:
    """The files of a bundle in a folder or zip, by their plain names.

    source: what messages call it. backbone: the names of the files in its sub-folder BACKBONE, to be opened with that
    before them. root: what is before all names in the zip.
    """

    path: Path
    source: Path | str
    names: list[str]
    backbone: list[str]
    archive: zipfile.ZipFile | None = None
    root: str = ""

    def open(self, name: str) -> BinaryIO:
        """One of its files; what goes wrong when it is opened or read is a UserError."""
        with reading_problems(self.source):
            in_folder = self.archive is None
            file = (self.path / name).open("rb") if in_folder else self.archive.open(self.root + name)
        return _SourceFile(file, self.source)

    def size(self, name: str) -> int:
        """Bytes of one of its files."""
        with reading_problems(self.source):
            in_folder = self.archive is None
            return (self.path / name).stat().st_size if in_folder else self.archive.getinfo(self.root + name).file_size

    def read(self, name: str) -> bytes:
        """A config or text. UserError if it is larger than LARGEST_CONFIG."""
        with self.open(name) as file:
            data = file.read(LARGEST_CONFIG + 1)
        _check_size(self.source, name, data)
        return data


class _SourceFile(io.RawIOBase):
    """A file of a bundle that is read from beginning to end."""

    def __init__(self, file: BinaryIO, source: Path | str):
        self._file, self._source = file, source

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:
        with reading_problems(self._source):
            data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


@contextmanager
def opened(path: Path, source: Path | str | None = None) -> Iterator[BundleFiles]:
    """The bundle in a folder, or in a zip at its top or in its one folder; `source` is what messages call it.

    UserError if there is none; what goes wrong in the block is not touched.
    """
    source = source or path
    with ExitStack() as stack:
        with reading_problems(source):
            if not path.exists():
                raise UserError(f"{source} does not exist; give a model's folder or zip.")
            if path.is_dir():
                names = _wanted(source, _files_in(path), in_zip=False)
                bundle = BundleFiles(path, source, names, _files_in(path / BACKBONE))
            else:
                bundle = _archive_files(stack, stack.enter_context(path.open("rb")), path, source)
        yield bundle


@contextmanager
def opened_archive(file: BinaryIO, source: str) -> Iterator[BundleFiles]:
    """The bundle in an open zip, as `opened`."""
    with ExitStack() as stack:
        with reading_problems(source):
            bundle = _archive_files(stack, file, Path(source), source)
        yield bundle


def _archive_files(stack: ExitStack, file: BinaryIO, path: Path, source: Path | str) -> BundleFiles:
    """The bundle in a zip that can be unpacked without harm. UserError, before it is unpacked, if it cannot."""
    size = file.seek(0, os.SEEK_END)
    archive = stack.enter_context(zipfile.ZipFile(file))
    if harm := _harm(archive.infolist(), size):
        raise UserError(f"{source} is not unpacked: {harm}; get a sound one from its maker.")
    inside = archive.namelist()
    root = _root(inside)
    names = [name.removeprefix(root) for name in inside if name.startswith(root)]
    backbone = [name.removeprefix(f"{BACKBONE}/") for name in names if name.startswith(f"{BACKBONE}/")]
    wanted = _wanted(source, names, in_zip=True)
    return BundleFiles(path, source, wanted, [name for name in backbone if name], archive, root)


def _harm(entries: list[zipfile.ZipInfo], size: int) -> str | None:
    """What speaks against unpacking a zip of `size` bytes. Its entries never give more than they announce."""
    if len(entries) > _MOST_ENTRIES:
        return f"it has {len(entries)} entries, and a model has a few"
    expanded = sum(entry.file_size for entry in entries)
    if expanded > _EXPANSION * size + _FREE_EXPANSION:
        return f"its {size / 1e6:.1f} MB would become {expanded / 1e6:.0f} MB, which weights cannot"
    names = set()
    for entry in entries:
        name, kind = entry.filename, stat.S_IFMT(entry.external_attr >> 16)
        if name.startswith(("/", "\\")) or _DRIVE.match(name) or ".." in re.split(r"[/\\]", name):
            return f"its entry {name} lies outside of it"
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            return f"its entry {name} is a link or device"
        if name.casefold() in names:
            return f"its entry {name} is there twice"
        if entry.flag_bits & 1:
            return f"its entry {name} is encrypted"
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            return f"its entry {name} is compressed in an unusual way (stored and deflated ones are read)"
        names.add(name.casefold())
    return None


def holds_bundle(path: Path) -> bool:
    """Whether a folder or zip is meant to be a bundle, sound or not; other programs' models have a config.json too."""
    with reading_problems(path):
        if path.is_dir():
            data = (path / CONFIG).read_bytes() if (path / CONFIG).is_file() else None
        elif zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                config = _root(archive.namelist()) + CONFIG
                data = archive.open(config).read(LARGEST_CONFIG + 1) if config in archive.namelist() else None
        else:
            data = None
    if data is None:
        return path.suffix.lower() == ".zip"
    try:
        return "format_version" in json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError, TypeError):
        return True


def _root(names: list[str]) -> str:
    """What is before the names of a bundle's files in a zip: nothing, or its one folder."""
    configs = [name for name in names if name.count("/") <= 1 and name.rpartition("/")[2] == CONFIG]
    return min(configs, key=len, default="").removesuffix(CONFIG)


def _files_in(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir() if entry.is_file()] if folder.is_dir() else []


def _wanted(source: Path | str, names: list[str], in_zip: bool) -> list[str]:
    """The bundle's own files of those that are there. UserError if one is missing."""
    if in_zip and CONFIG not in names and any(name.lower().endswith(_LOOSE_WEIGHTS) for name in names):
        raise UserError(f"{source} is no model: it holds weights without a {CONFIG}; unpack it and import the weights.")
    for needed in (CONFIG, WEIGHTS):
        if needed not in names:
            raise UserError(f"{source} is no model: it has no {needed}; give a model's folder or zip.")
    return sorted({name for name in names if name in (CONFIG, WEIGHTS, CARD, CURVES) or is_license(name)})


def copy_out(file: BinaryIO, path: Path) -> str:
    """Write the rest of an open file to `path`, down to the disk; returns its SHA-256."""
    with path.open("wb") as copy:
        sha256 = _copy(file, copy)
        copy.flush()
        os.fsync(copy.fileno())
    give_usual_permissions(path)
    return sha256


def pack_file(archive: zipfile.ZipFile, name: str, file: BinaryIO) -> str:
    """Add the rest of an open file to a zip as it is, since weights do not compress; returns its SHA-256."""
    entry = zipfile.ZipInfo(name)  # of the same date always: what is the same gives the same zip
    entry.external_attr = (stat.S_IFREG | 0o644) << 16
    with archive.open(entry, "w", force_zip64=True) as copy:
        return _copy(file, copy)


def stream_sha256(file: BinaryIO) -> str:
    """The SHA-256 of the rest of an open file."""
    return _copy(file)


def _copy(source: BinaryIO, target: IO[bytes] | None = None) -> str:
    total = hashlib.sha256()
    while block := source.read(_BLOCK):
        total.update(block)
        if target is not None:
            target.write(block)
    return total.hexdigest()


@contextmanager
def reading_problems(source: Path | str) -> Iterator[None]:
    """All that can go wrong while a bundle is read, as a UserError."""
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Exception as error:  # damaged archives make zipfile raise many kinds
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{source} is no model or is damaged ({reason}); get it again.") from error


def check_weights(source: Path | str, sha256: str, config: dict[str, Any]) -> None:
    """UserError unless this is the SHA-256 of the weights that the config names."""
    if sha256 != config["weights"]["sha256"]:
        raise UserError(f"{source} is damaged: the SHA-256 of {WEIGHTS} is not the one in {CONFIG}; get it again.")


def check_version(source: Path | str, version: object) -> None:
    """UserError unless bundles of this format version can be read."""
    if version not in READABLE_VERSIONS:
        raise UserError(
            f"{source} has format version {version!s:.20}, and this program knows "
            f"{' and '.join(map(str, READABLE_VERSIONS))} only; update the program or get another bundle."
        )


def check_config(source: Path | str, data: bytes) -> dict[str, Any]:
    """The content of a config.json, sound as far as can be told without torch."""
    _check_size(source, CONFIG, data)
    try:
        config = json.loads(data.decode("utf-8"))
        json.dumps(config, allow_nan=False)
        if not isinstance(config, dict):
            raise TypeError("it is no table")
    except (ValueError, RecursionError, TypeError) as error:
        raise UserError(f"{source} is damaged: its {CONFIG} cannot be read ({error}); get it again.") from error
    if "format_version" not in config:
        raise UserError(
            f"{source} is no model of Dino U-Net: its {CONFIG} has no format_version; give a model's folder or zip."
        )
    check_version(source, config["format_version"])
    try:
        inputs, labels, backbone = config["input"], config["labels"], config["backbone"]
        channels, schemes = inputs["channel_names"], [entry["scheme"] for entry in inputs["normalization"]]
        sound = {
            "name": isinstance(config["name"], str) and config["name"] != "",
            "channel_names": len(channels) == len(schemes) > 0 and all(isinstance(name, str) for name in channels),
            "dimension": inputs["dimension"] in (2, 3),
            "plane": inputs["plane"] in _PLANES,
            "planes": _are_planes(inputs.get("planes", [inputs["plane"]])),
            "labels": len(labels) > 0 and all(isinstance(entry["name"], str) for entry in labels),
            "sha256": isinstance(config["weights"]["sha256"], str),
            "backbone": isinstance(backbone["stored"], bool)
            and isinstance(backbone["sha256"], str)
            and _is_label(backbone.get("name"))
            and _is_label(backbone.get("source")),
            "architecture": _is_label(config["architecture"].get("variant")),
        }
        wrong = ", ".join(name for name, is_sound in sound.items() if not is_sound)
    except (KeyError, TypeError, AttributeError) as error:
        wrong = str(error)
    if wrong:
        raise UserError(f"{source} is damaged: its {CONFIG} lacks or misstates {wrong}; get it again.")
    return config


def _are_planes(value: object) -> bool:
    """Whether it is a list of one or more of the planes' names."""
    return isinstance(value, list) and bool(value) and set(value) <= _PLANES


def _is_label(value: object) -> bool:
    """Whether it is a short text that can be shown, or nothing."""
    return value is None or (isinstance(value, str) and value.isprintable() and len(value) <= _LONGEST_LABEL)


def _check_size(source: Path | str, name: str, data: bytes) -> None:
    if len(data) > LARGEST_CONFIG:
        raise UserError(f"{source} is damaged: its {name} is larger than {LARGEST_CONFIG >> 10} KiB; get it again.")
