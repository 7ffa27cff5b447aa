"""The files of a bundle as they lie in a folder or zip, and what can be said of them without torch."""

import hashlib
import json
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from DinoUNetCore.errors import UserError

FORMAT_VERSION = 1
CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
LARGEST_CONFIG = 512 << 10  # bytes

_LICENSE = re.compile(r"LICEN[CS]E[\w.-]*", re.ASCII)


def digest(config: bytes) -> str:
    """By which a bundle is known: the SHA-256 of the bytes of its config.json."""
    return hashlib.sha256(config).hexdigest()


@dataclass(frozen=True)
class BundleFiles:
    """The files of a bundle in a folder or zip, by their plain names. root: before them in the zip."""

    path: Path
    names: list[str]
    archive: zipfile.ZipFile | None = None
    root: str = ""

    def open(self, name: str) -> BinaryIO:
        return (self.path / name).open("rb") if self.archive is None else self.archive.open(self.root + name)

    def read(self, name: str) -> bytes:
        """At most a little more than LARGEST_CONFIG bytes."""
        with self.open(name) as file:
            return file.read(LARGEST_CONFIG + 1)


@contextmanager
def opened(path: Path) -> Iterator[BundleFiles]:
    """The bundle in a folder, or in a zip at its top or in its one folder. UserError if there is none."""
    if not path.exists():
        raise UserError(f"{path} does not exist; give a model's folder or zip.")
    if path.is_dir():
        yield BundleFiles(path, _wanted(path, [entry.name for entry in path.iterdir() if entry.is_file()]))
        return
    with zipfile.ZipFile(path) as archive:
        inside = archive.namelist()
        configs = [name for name in inside if name.count("/") <= 1 and name.rpartition("/")[2] == CONFIG]
        root = min(configs, key=len, default="").removesuffix(CONFIG)
        names = [name.removeprefix(root) for name in inside if name.startswith(root)]
        yield BundleFiles(path, _wanted(path, names), archive, root)


def _wanted(path: Path, names: list[str]) -> list[str]:
    for needed in (CONFIG, WEIGHTS):
        if needed not in names:
            raise UserError(f"{path} is no model: it has no {needed}; give a model's folder or zip.")
    return sorted({name for name in names if name in (CONFIG, WEIGHTS, CARD) or _LICENSE.fullmatch(name)})


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


def check_config(source: Path | str, data: bytes) -> dict[str, Any]:
    """The content of a config.json, sound as far as can be told without torch."""
    if len(data) > LARGEST_CONFIG:
        raise UserError(f"{source} is damaged: its {CONFIG} is larger than {LARGEST_CONFIG >> 10} KiB; get it again.")
    try:
        config = json.loads(data.decode("utf-8"))
        json.dumps(config, allow_nan=False)
        version = config["format_version"]
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise UserError(f"{source} is damaged: its {CONFIG} cannot be read ({error}); get it again.") from error
    if version != FORMAT_VERSION:
        raise UserError(
            f"{source} has format version {version}, and this program knows {FORMAT_VERSION} only; "
            "update the program or get another bundle."
        )
    try:
        inputs, labels = config["input"], config["labels"]
        channels, schemes = inputs["channel_names"], [entry["scheme"] for entry in inputs["normalization"]]
        sound = {
            "name": isinstance(config["name"], str) and config["name"] != "",
            "channel_names": len(channels) == len(schemes) > 0 and all(isinstance(name, str) for name in channels),
            "dimension": inputs["dimension"] in (2, 3),
            "labels": len(labels) > 0 and all(isinstance(entry["name"], str) for entry in labels),
            "sha256": isinstance(config["weights"]["sha256"], str),
        }
        wrong = ", ".join(name for name, is_sound in sound.items() if not is_sound)
    except (KeyError, TypeError, AttributeError) as error:
        wrong = str(error)
    if wrong:
        raise UserError(f"{source} is damaged: its {CONFIG} lacks or misstates {wrong}; get it again.")
    return config
