"""What there is: the models and where the backbone of each is; the backbones of the library and of the hub's cache.

No torch: a table of it is printed at once.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from DinoUNetCore.errors import UserError
from DinoUNetCore.weights import backbone_store, hub, library
from DinoUNetCore.weights.backbone_folder import check_folder, is_sha256
from DinoUNetCore.weights.bundle_files import stream_sha256
from DinoUNetCore.weights.timm_names import variant_of

STORED, AVAILABLE, NAMED = "stored", "available", "named"
"""Of a model's backbone: in the model itself; elsewhere on this computer; only named, and to be fetched."""
STORE, CACHE, BUNDLE = "store", "cache", "bundle"
"""Where backbones are: in the library's store, in the hub's cache, in the folder or zip of a model."""

_SHORTEST_SHA256 = 8  # letters that are enough to name a backbone

Check = Callable[[], str | None]
"""Reads something. Returns None if it is sound, or what was found else; UserError if it is damaged."""


@dataclass(frozen=True)
class Model:
    """A model that can be chosen. size: bytes on disk.

    backbone: its state, one of the above; None if the model is damaged. backbone_name: timm's; None if it is no public
    one. backbone_place: if it is available.
    """

    entry: library.Entry
    size: int
    backbone: str | None = None
    backbone_name: str | None = None
    backbone_sha256: str | None = None
    backbone_place: str | None = None

    @property
    def name(self) -> str:
        return self.entry.name

    @property
    def variant(self) -> str | None:
        return None if self.entry.problem else self.entry.config.get("architecture", {}).get("variant")

    @property
    def structures(self) -> list[str]:
        return [label["name"] for label in self.entry.config.get("labels", [])]


@dataclass(frozen=True)
class Backbone:
    """Public weights on this computer. place: STORE or CACHE. size: bytes on disk. models: that use these weights.

    name: timm's, or else the SHA-256. sha256: of the tensors, known in the store only. problem: None, or a sentence
    that says why it cannot be used.
    """

    name: str
    variant: str | None
    place: str
    path: Path
    size: int
    models: list[str]
    sha256: str | None = None
    problem: str | None = None


@dataclass(frozen=True)
class Inventory:
    models: list[Model]
    backbones: list[Backbone]

    def model(self, name: str) -> Model | None:
        """The model of this name, or None."""
        return next((model for model in self.models if model.name == name), None)

    def backbones_called(self, text: str) -> list[Backbone]:
        """One backbone by its timm name, its variant or the beginning of its SHA-256, in each place where it is.

        UserError if there is none, or several that differ.
        """
        found = [one for one in self.backbones if text in (one.name, one.variant) or _begins(one.sha256, text)]
        if not found:
            raise UserError(f"there is neither a model nor a backbone {text}; choose one of the list.")
        if len({one.name for one in found}) > 1 or len({one.sha256 for one in found if one.sha256}) > 1:
            choices = ", ".join(f"{one.name} ({one.sha256[:12]})" if one.sha256 else one.name for one in found)
            raise UserError(f"{text} names several backbones; give one's whole name or SHA-256: {choices}.")
        return found

    def checks(self, names: Sequence[str]) -> list[tuple[str, Check]]:
        """What can be verified, all that is complete or what is named: its title, and what reads it.

        UserError if there is nothing of such a name.
        """
        if not names:
            whole = [one for one in self.backbones if one.place == STORE or not one.problem]
            return [*map(_model_check, self.models), *map(_backbone_check, whole)]
        checks = []
        for name in names:
            if model := self.model(name):
                checks.append(_model_check(model))
            else:
                checks += map(_backbone_check, self.backbones_called(name))
        return checks


def take_inventory() -> Inventory:
    """All models and backbones on this computer. What is damaged is there with its problem."""
    stored, cached = backbone_store.entries(), hub.cached_backbones()
    usable = {one.name for one in cached if one.complete}
    models = [_model(entry, usable) for entry in library.list_entries()]
    backbones = [
        Backbone(
            one.timm_model or one.sha256,
            one.variant,
            STORE,
            one.path,
            one.size,
            [m.name for m in models if m.backbone_place == STORE and m.backbone_sha256 == one.sha256],
            one.sha256,
            one.problem,
        )
        for one in stored
    ]
    for one in cached:
        users = [m.name for m in models if m.backbone_place == CACHE and m.backbone_name == one.name]
        problem = None if one.complete else f"the download of {one.name} broke off; fetch it again, and it goes on."
        backbones.append(Backbone(one.name, variant_of(one.name), CACHE, one.path, one.size, users, problem=problem))
    return Inventory(models, backbones)


def _model(entry: library.Entry, cached: set[str]) -> Model:
    size = size_on_disk(entry.path)
    if entry.problem:
        return Model(entry, size)
    record = entry.config["backbone"]
    name, sha256 = record.get("name"), record["sha256"]
    if record["stored"]:
        return Model(entry, size, STORED, name, sha256)
    place = None
    if entry.holds_backbone:
        place = BUNDLE
    elif backbone_store.find(sha256):
        place = STORE
    elif name in cached:
        place = CACHE
    return Model(entry, size, AVAILABLE if place else NAMED, name, sha256, place)


def size_on_disk(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    size = 0
    with suppress(OSError):  # another process may remove some of it meanwhile
        for file in path.rglob("*") if path.is_dir() else [path]:
            if file.is_file():
                size += file.stat().st_size
    return size


def _model_check(model: Model) -> tuple[str, Check]:
    return f"the model {model.name}", lambda: library.check(model.entry.path)


def _backbone_check(one: Backbone) -> tuple[str, Check]:
    if one.place == CACHE:
        return f"the backbone {one.name} in the hub's cache", lambda: _check_cached(one)
    return f"the backbone {one.name}", lambda: _check_stored(one)


def _check_stored(one: Backbone) -> None:
    check_folder(one.path)


def _check_cached(one: Backbone) -> str | None:
    """The hub's cache calls large files by their SHA-256, where the system has links."""
    if one.problem:
        raise UserError(one.problem)
    blobs = [path.resolve() for path in sorted(one.path.iterdir()) if is_sha256(path.resolve().name)]
    if not blobs:
        return "is complete, but was not compared: the hub's cache keeps no SHA-256 of it on this computer"
    for blob in blobs:
        with blob.open("rb") as file:
            if stream_sha256(file) != blob.name:
                raise UserError(f"the backbone {one.name} in the hub's cache is damaged ({blob}); remove and fetch it.")
    return None


def _begins(sha256: str | None, text: str) -> bool:
    return sha256 is not None and len(text) >= _SHORTEST_SHA256 and sha256.startswith(text.lower())
