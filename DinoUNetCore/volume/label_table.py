"""The table "labels" of a dataset.json: classes, nnU-Net's regions (lists of values), and its ignore label.

https://github.com/MIC-DKFZ/nnUNet/blob/master/documentation/region_based_training.md and ignore_label.md beside it
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from DinoUNetCore.errors import UserError
from DinoUNetCore.volume.label_scheme import BACKGROUND, IGNORE, LabelScheme

ORDER = "regions_class_order"


def read_label_scheme(table: Mapping[str, Any], file: str | Path) -> LabelScheme:
    """The scheme of a dataset.json's content, whose "labels" are a table. UserErrors name `file`.

    As in nnU-Net the labels are regions if any of them lists more than one value (without that, regions_class_order
    means nothing); the network's outputs stand in the order of the table.
    """
    entries = {name: _values(name, value, file) for name, value in table["labels"].items()}
    ignore = _take_ignore(entries, file)
    background = next((name for name, values in entries.items() if values == [BACKGROUND]), None)
    if background is None:
        raise UserError(f'labels in {file} do not name the background; add "background": 0.')
    structures = {name: values for name, values in entries.items() if name != background}
    if again := next((name for name, values in structures.items() if values == [BACKGROUND]), None):
        raise UserError(f"labels {background!r} and {again!r} in {file} have the same value 0; leave one out.")
    if not structures:
        raise UserError(f"labels in {file} name nothing but the background; add what is to be segmented.")
    highest = max(value for values in structures.values() for value in values)
    if ignore is not None and ignore <= highest:
        raise UserError(f"the ignore label in {file} has the value {ignore}; give it one above {highest}, the highest.")
    if any(len(values) > 1 for values in structures.values()):
        written = _written(structures, table, file)
        return LabelScheme(_by_value({background: BACKGROUND, **written}), structures, ignore)
    labels = {background: BACKGROUND, **{name: value for name, (value,) in structures.items()}}
    name_of: dict[int, str] = {}
    for name, value in labels.items():
        if value in name_of:
            raise UserError(f"labels {name_of[value]!r} and {name!r} in {file} have the same value {value}.")
        name_of[value] = name
    return LabelScheme(_by_value(labels), None, ignore)


def _values(name: str, value: Any, file: str | Path) -> list[int]:
    values = value if isinstance(value, list) else [value]
    if not values or not all(type(number) is int and 0 <= number < 2**31 for number in values):
        raise UserError(
            f"label {name!r} in {file} has the value {value!r}; write name: value, with whole numbers from 0 up, "
            'such as {"background": 0, "liver": 1}, or name: [values] for a region.'
        )
    if not name.strip():
        raise UserError(f"the label of value {value} in {file} has an empty name; give it one.")
    if len(set(values)) < len(values) or (BACKGROUND in values and len(values) > 1):
        raise UserError(f"the region {name!r} in {file} has the values {value}; name each once, and no background.")
    return values


def _take_ignore(entries: dict[str, list[int]], file: str | Path) -> int | None:
    """Take the ignore label out of the entries; its value, or None if there is none."""
    names = [name for name in entries if name.strip().casefold() == IGNORE]
    if not names:
        return None
    values = [value for name in names for value in entries.pop(name)]
    if len(values) > 1:
        raise UserError(f"the ignore label in {file} has the values {values}; give it one value.")
    return values[0]


def _written(regions: Mapping[str, list[int]], table: Mapping[str, Any], file: str | Path) -> dict[str, int]:
    """{region: the value that is written for it}."""
    order = table.get(ORDER)
    if not isinstance(order, list) or len(order) != len(regions):
        found = f"is {order!r}" if ORDER in table else "is missing"
        if isinstance(order, list):
            found += f", {len(order)} values for {len(regions)} regions (background and ignore have none)"
        raise UserError(
            f"{file} describes regions ({', '.join(regions)}), but {ORDER!r} {found}; list the value to be written for "
            "each of them, later ones over earlier ones, in the order of the labels."
        )
    written: dict[str, int] = {}
    for (name, values), value in zip(regions.items(), order, strict=True):
        if value not in values or type(value) is not int or value in written.values():
            raise UserError(
                f"{ORDER!r} in {file} has {value!r} for the region {name!r} of the values {values}; give each region a "
                "value of its own, one of these."
            )
        written[name] = value
    return written


def _by_value(labels: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(labels.items(), key=lambda item: item[1]))
