"""Checks of a plan's fields, for plans that people have edited."""

import math
from collections.abc import Callable
from typing import Any

from DinoUNetCore.errors import UserError
from DinoUNetCore.network.variants import VARIANTS
from DinoUNetCore.volume.geometry import PLANES, UNITS
from DinoUNetCore.volume.intensity import ChannelNormalization

VERSION = 1
SMALLEST_PATCH_SIDE = 64
PATCH_MULTIPLE = 32
MIRROR_AXES = ("rows", "columns")


def check_plan(table: Any, source: str) -> None:
    """Check a plan's JSON object. `source` names it in the UserErrors ("plan.json"), which name the field too."""
    if not isinstance(table, dict):
        raise UserError(f"{source} must hold a JSON object; make a new plan.")
    if table.get("version") != VERSION:
        raise UserError(
            f"version in {source} is {table.get('version')!r}, but only {VERSION} is known; make a new plan."
        )
    for name in table:
        if name not in CHECKS:
            raise UserError(f"{source} has the unknown field {name!r}; remove it or correct its name.")
    for name, (_, wanted) in CHECKS.items():
        if name not in table:
            raise UserError(f"{source} lacks the field {name!r}; add it ({wanted}) or make a new plan.")
        check_field(name, table[name], source)
    _check_channels(table, source)
    _check_context(table, source)
    _check_unit(table, source)
    _check_planes(table, source)
    _check_regions(table, source)
    _check_folds(table, source)


def check_field(name: str, value: Any, source: str) -> None:
    """Check one field by itself."""
    is_right, wanted = CHECKS[name]
    if not is_right(value):
        raise UserError(f"{name} in {source} must be {wanted}, not {_shown(value)}.")


def _check_channels(table: dict, source: str) -> None:
    channels = len(table["channel_names"])
    for name in ("normalization", "intensity_range"):
        if len(table[name]) != channels:
            raise UserError(
                f"{name} in {source} has {len(table[name])} entries for {channels} channel(s); give each channel one."
            )
    schemes = {entry["scheme"] for entry in table["normalization"]}
    if "rgb" in schemes and (channels != 3 or len(schemes) > 1):
        raise UserError(f"normalization in {source} has the scheme 'rgb', which takes exactly three channels.")


def _check_context(table: dict, source: str) -> None:
    if table["context_slices"] == 3 and (table["dimension"] == 2 or len(table["channel_names"]) > 1):
        raise UserError(
            f"context_slices in {source} is 3, which needs volumes (dimension 3) with one channel; set it to 1."
        )


def _check_unit(table: dict, source: str) -> None:
    if table["unit"] == "pixel" and table["dimension"] == 3:
        raise UserError(f"unit in {source} is 'pixel', which is for pictures (dimension 2); set it to 'mm'.")


def _check_regions(table: dict, source: str) -> None:
    labels, regions, ignore = table["labels"], table["regions"], table["ignore"]
    if regions is not None:
        if set(regions) != {name for name, value in labels.items() if value != 0}:
            raise UserError(f"regions and labels in {source} name different structures; give each the same names.")
        for name, values in regions.items():
            if labels[name] not in values:
                raise UserError(
                    f"labels in {source} write {labels[name]} for the region {name!r}, which is not among its values."
                )
    highest = max([*labels.values(), *(value for values in (regions or {}).values() for value in values)])
    if ignore is not None and ignore <= highest:
        raise UserError(f"ignore in {source} is {ignore}, but must be above all other values; {highest} is one.")


def _check_planes(table: dict, source: str) -> None:
    if len(table["planes"]) == 1:
        return
    if table["dimension"] == 2:
        raise UserError(f"planes in {source} are several, which is for volumes (dimension 3); leave one.")
    if table["spacing"][0] != table["spacing"][1]:
        raise UserError(
            f"spacing in {source} differs along rows and columns, which are other axes of the body in each of its "
            "planes; give the same number twice."
        )


def _check_folds(table: dict, source: str) -> None:
    seen: set[str] = set()
    for fold in table["folds"]:
        for name in fold:
            if name in seen:
                raise UserError(f"folds in {source} name the case {name!r} twice; a case is validated on once.")
            seen.add(name)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_list(is_right: Callable[[Any], bool], length: int | None = None) -> Callable[[Any], bool]:
    """A check for lists of `length` (None: at least one) items that pass `is_right`."""

    def check(value: Any) -> bool:
        right_length = isinstance(value, list) and (len(value) == length if length is not None else len(value) > 0)
        return right_length and all(is_right(item) for item in value)

    return check


def _is_range(value: Any) -> bool:
    return _is_list(_is_number, 2)(value) and value[0] <= value[1]


def _is_patch_side(value: Any) -> bool:
    return _is_whole(value, SMALLEST_PATCH_SIDE) and value % PATCH_MULTIPLE == 0


def _is_normalization(value: Any) -> bool:
    try:
        ChannelNormalization.from_json(value)
    except UserError:
        return False
    return True


def _is_labels(value: Any) -> bool:
    if not isinstance(value, dict) or not all(_is_text(name) and _is_whole(v, 0) for name, v in value.items()):
        return False
    return len(value) >= 2 and len(set(value.values())) == len(value) and 0 in value.values()


def _are_regions(value: Any) -> bool:
    if not isinstance(value, dict) or not value or not all(_is_text(name) for name in value):
        return False
    wholes = _is_list(lambda number: _is_whole(number, 1))
    return all(wholes(values) and len(set(values)) == len(values) for values in value.values())


def _is_planes(value: Any) -> bool:
    return _is_list(lambda name: isinstance(name, str) and name in PLANES)(value) and len(set(value)) == len(value)


def _is_mirror(value: Any) -> bool:
    return isinstance(value, list) and len(set(map(str, value))) == len(value) and all(v in MIRROR_AXES for v in value)


def _is_reasons(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())


# Every field of a plan: is a value right, and what would be right.
CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "version": (lambda v: v == VERSION, str(VERSION)),
    "dataset": (_is_text, "the data set's name"),
    "variant": (lambda v: isinstance(v, str) and v in VARIANTS, "one of " + ", ".join(VARIANTS)),
    "dimension": (lambda v: v in (2, 3) and _is_whole(v, 2), "2 for pictures or 3 for volumes"),
    "planes": (_is_planes, "a list of one or more of " + ", ".join(PLANES)),
    "unit": (lambda v: v in UNITS, "one of " + ", ".join(UNITS)),
    "spacing": (_is_list(lambda v: _is_number(v) and v > 0, 2), "[row, column] spacing in the plan's unit, above 0"),
    "patch_size": (
        _is_list(_is_patch_side, 2),
        f"[rows, columns], multiples of {PATCH_MULTIPLE} from {SMALLEST_PATCH_SIDE} up",
    ),
    "batch_size": (lambda v: _is_whole(v, 1), "a whole number from 1 up"),
    "context_slices": (lambda v: v in (1, 3) and _is_whole(v, 1), "1 or 3"),
    "normalization": (
        _is_list(_is_normalization),
        'one entry per channel: {"scheme": "zscore"}, {"scheme": "rgb"}, or "ct" with low <= high, mean and std >= 0',
    ),
    "mirror": (_is_mirror, 'a list of none, one or both of "rows" and "columns"'),
    "channel_names": (_is_list(_is_text), "a list of at least one name"),
    "labels": (_is_labels, "{name: value}, with different whole numbers from 0 up and the background as 0"),
    "regions": (
        lambda v: v is None or _are_regions(v),
        "null, or {name: [values]} with different whole numbers from 1 up, the value that is written among them",
    ),
    "ignore": (lambda v: v is None or _is_whole(v, 1), "null, or the value of ignored voxels, a whole number above 0"),
    "intensity_range": (_is_list(_is_range), "[low, high] for each channel"),
    "spacing_range": (_is_list(_is_range, 3), "[[least, most] slice, [least, most] row, [least, most] column spacing]"),
    "folds": (_is_list(_is_list(_is_text)), "a list of folds, each a list of at least one case to validate on"),
    "warnings": (lambda v: isinstance(v, list) and all(isinstance(text, str) for text in v), "a list of sentences"),
    "reasons": (_is_reasons, "{field: sentence}"),
}


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
