"""The inventory of models and backbones as tables for people, and as JSON for programs."""

import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from DinoUNetCore.weights import license
from DinoUNetCore.weights.inventory import AVAILABLE, CACHE, NAMED, STORE, STORED, Backbone, Inventory, Model

_STATES = {STORED: "in the model", AVAILABLE: "available", NAMED: "to be fetched"}
_PLACES = {STORE: "library", CACHE: "hub's cache"}
_GAP = "  "


def as_text(inventory: Inventory, folder: Path, cache: Path, width: int) -> str:
    """Two tables and where all of it lies, in lines of at most `width` columns where names allow it."""
    models = [("MODEL", "VARIANT", "SIZE", "BACKBONE", "STRUCTURES"), *map(_model_row, inventory.models)]
    backbones = [("BACKBONE", "SHA-256", "SIZE", "WHERE", "MODELS"), *map(_backbone_row, inventory.backbones)]
    parts = [_table(models, width)]
    if inventory.backbones:
        parts.append(_table(backbones, width))
    else:
        parts.append(["No DINOv3 backbones yet; `python -m DinoUNetCore.models fetch small` gets one."])
    if problems := [one.problem for one in (*_entries(inventory), *inventory.backbones) if one.problem]:
        parts.append([f"! {printable(problem)}" for problem in problems])
    accepted = "accepted" if license.is_accepted() else "not accepted yet: `python -m DinoUNetCore.models license`"
    parts.append([f"Library:      {folder}", f"Hub's cache:  {cache}", f"Licence:      {license.NAME}, {accepted}"])
    return "\n\n".join("\n".join(lines) for lines in parts)


def as_json(inventory: Inventory, folder: Path, cache: Path) -> dict[str, Any]:
    """Sizes in bytes."""
    return {
        "folder": str(folder),
        "cache": str(cache),
        "license": {"name": license.NAME, "url": license.URL, "accepted": license.is_accepted()},
        "models": [_model_json(model) for model in inventory.models],
        "backbones": [_backbone_json(backbone) for backbone in inventory.backbones],
    }


def license_status() -> str:
    """Whether the licence of DINOv3 weights was accepted, and how it can be."""
    if license.is_accepted():
        return f"the {license.NAME} is accepted ({license.URL})"
    return (
        f"the {license.NAME} is not accepted yet: read {license.URL} and accept it by "
        "`python -m DinoUNetCore.models license --accept`"
    )


def printable(text: str) -> str:
    """A text of somebody else's file in one line, without what moves a terminal's cursor or changes its colours."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def bytes_in_words(size: int) -> str:
    """"86.4 MB": in powers of 1000, as disks are sold."""
    value, units = float(size), ["bytes", "kB", "MB", "GB", "TB"]
    while value >= 999.95 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{size} bytes" if units[0] == "bytes" else f"{value:.1f} {units[0]}"


def _entries(inventory: Inventory) -> list[Any]:
    return [model.entry for model in inventory.models]


def _model_row(model: Model) -> tuple[str, ...]:
    size = bytes_in_words(model.size)
    if model.entry.problem:
        return (model.name, "-", size, "-", "damaged, see below")
    structures = f"{len(model.structures)}: {', '.join(model.structures)}"
    return (model.name, model.variant or "-", size, _STATES[model.backbone], structures)


def _backbone_row(one: Backbone) -> tuple[str, ...]:
    name = one.name if one.name != one.sha256 else f"({one.variant or 'unknown'}, unnamed)"
    models = "not usable, see below" if one.problem else ", ".join(one.models) or "-"
    return (name, one.sha256[:12] if one.sha256 else "-", bytes_in_words(one.size), _PLACES[one.place], models)


def _model_json(model: Model) -> dict[str, Any]:
    return {
        "name": model.name,
        "variant": model.variant,
        "source": model.entry.source,
        "path": str(model.entry.path),
        "bytes": model.size,
        "structures": model.structures,
        "backbone": {
            "state": model.backbone,
            "name": model.backbone_name,
            "sha256": model.backbone_sha256,
            "place": model.backbone_place,
        },
        "problem": model.entry.problem,
    }


def _backbone_json(one: Backbone) -> dict[str, Any]:
    return {
        "name": one.name,
        "variant": one.variant,
        "sha256": one.sha256,
        "place": one.place,
        "path": str(one.path),
        "bytes": one.size,
        "models": one.models,
        "problem": one.problem,
    }


def _table(rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """Columns as wide as their content, sizes to the right; the last column is cut where the line ends."""
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(_columns, cells)) for cells in zip(*rows, strict=True)][:-1]
    right = rows[0].index("SIZE")
    lines = []
    for row in rows:
        cells = [
            " " * (wide - _columns(cell)) + cell if column == right else cell + " " * (wide - _columns(cell))
            for column, (cell, wide) in enumerate(zip(row, widths, strict=False))
        ]
        start = _GAP.join(cells) + _GAP
        lines.append((start + _cut(row[-1], max(width - _columns(start), len(rows[0][-1])))).rstrip())
    return lines


def _cut(text: str, columns: int) -> str:
    if _columns(text) <= columns:
        return text
    while _columns(text) > columns - 3:
        text = text[:-1]
    return text + "..."


def _columns(text: str) -> int:
    """How many columns a terminal needs: wide letters take two, accents none."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )
