"""plans.json and dataset.json of nnU-Net v2: what a network that was trained with them takes and gives.

Slices. nnU-Net takes arrays as their files store them (slices, rows, columns = K, J, I), reorders the axes by
`transpose_forward`, and trains its 2D configuration on slices across the first axis. Where the axes lie in the body is
said nowhere, so it has to be assumed: files store slices of one plane in the usual order (`stored`; "axial": columns
run R to L, rows A to P, slices I to S). Then [0, 1, 2] gives axial, [1, 0, 2] coronal and [2, 0, 1] sagittal slices
with the rows and columns of ours (see volume.geometry), though perhaps in the opposite direction: `turned` says so.
Orders that would swap rows and columns are refused.

Intensities. nnU-Net cuts borders of zeros off before it takes an image's mean and deviation, ours are of the whole
image: where there are no such borders the numbers are the same.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from DinoUNetCore.errors import UserError
from DinoUNetCore.files import read_json
from DinoUNetCore.volume.geometry import PLANES, Slicing
from DinoUNetCore.volume.intensity import ChannelNormalization
from DinoUNetCore.volume.label_scheme import LabelScheme
from DinoUNetCore.volume.label_table import read_label_scheme
from DinoUNetCore.volume.reading import is_picture
from DinoUNetCore.volume.volume import Grid

_MULTIPLE = 32  # of the sides of what the authors' network takes
_LARGEST_VALUE = 1e38  # of voxels, in volume.checks
_ANY_SPACING = (0.0, 1e6)  # where the plans do not say which one the data set has

# Directions (LPS) of arrays that store slices of a plane in the usual order, and of NIfTI files turned to RAS.
_STORED = {
    "axial": (1, 0, 0, 0, 1, 0, 0, 0, 1),
    "coronal": (1, 0, 0, 0, 0, 1, 0, -1, 0),
    "sagittal": (0, 0, 1, 1, 0, 0, 0, -1, 0),
}
_RAS = (-1, 0, 0, 0, -1, 0, 0, 0, 1)
_TURNING_READERS = ("NibabelIOWithReorient", "SimpleITKIOWithReorient")


@dataclass(frozen=True)
class NnUNetPlans:
    """What the two files say, in our terms (see dataset.plan.Plan).

    scheme: what the network's outputs mean, classes or regions.
    spacing: (row, column). patch_size: (rows, columns). turned: which of "rows" and "columns" run the other way in our
    slices. intensity_range: per channel the 0.5 and 99.5 percentiles of the labelled voxels. spacing_range: the median
    spacing of the data set between slices, rows and columns, twice.
    """

    data_set: str
    channel_names: list[str]
    scheme: LabelScheme
    dimension: int
    unit: str
    plane: str
    turned: tuple[str, ...]
    spacing: tuple[float, float]
    patch_size: tuple[int, int]
    normalization: list[ChannelNormalization]
    intensity_range: list[tuple[float, float]]
    spacing_range: list[tuple[float, float]]


def read_nnunet_plans(
    plans: str | Path, dataset: str | Path, configuration: str = "2d", stored: str = "axial"
) -> NnUNetPlans:
    """Read both files. configuration: the one trained with. stored: the plane whose slices the data set's files store.

    UserErrors: files that are no such files or swapped, no such configuration, and all that cannot be reproduced:
    unknown normalisations and those in a mask, slices with rows and columns swapped.
    """
    plans_table, dataset_table = _read_tables(Path(plans), Path(dataset))
    settings = _configuration(plans_table, configuration, plans)
    names = _channel_names(dataset_table, dataset)
    scheme = _scheme(dataset_table, dataset)
    picture = is_picture(_text(dataset_table, "file_ending", dataset))
    shape = plans_table.get("original_median_shape_after_transp")
    flat = isinstance(shape, list) and len(shape) == 3 and shape[0] == 1
    volumes_in_tiff = plans_table.get("image_reader_writer") == "Tiff3DIO" and not flat
    dimension = 2 if (picture and not volumes_in_tiff) or flat else 3
    unit = "pixel" if picture and dimension == 2 else "mm"
    plane, turned = _slices(plans_table, dimension, stored, plans)
    spacing = tuple(float(side) for side in _numbers(settings, "spacing", 2, plans, above=0))
    normalization, intensity_range = _normalization(settings, plans_table, names, plans)
    return NnUNetPlans(
        data_set=_text(plans_table, "dataset_name", plans),
        channel_names=names,
        scheme=scheme,
        dimension=dimension,
        unit=unit,
        plane=plane,
        turned=turned,
        spacing=spacing,
        patch_size=_patch_size(settings, plans),
        normalization=normalization,
        intensity_range=intensity_range,
        spacing_range=_spacing_range(plans_table, plans),
    )


def _read_tables(plans: Path, dataset: Path) -> tuple[dict, dict]:
    plans_table, dataset_table = read_json(plans), read_json(dataset)
    if _is_dataset(plans_table) and _is_plans(dataset_table):
        raise UserError(f"{plans} describes a data set and {dataset} holds the plans; swap the two.")
    if not _is_plans(plans_table):
        raise UserError(f"{plans} is no plans.json of nnU-Net v2 (it has no 'configurations'); give that file.")
    if not _is_dataset(dataset_table):
        raise UserError(f"{dataset} is no dataset.json of nnU-Net v2 (it has no 'labels'); give that file.")
    return plans_table, dataset_table


def _is_plans(table: Any) -> bool:
    return isinstance(table, dict) and isinstance(table.get("configurations"), dict)


def _is_dataset(table: Any) -> bool:
    return isinstance(table, dict) and isinstance(table.get("labels"), dict)


# dataset.json -----------------------------------------------------------------------------------------------------


def _channel_names(table: dict, source: str | Path) -> list[str]:
    names = table.get("channel_names", table.get("modality"))
    wanted = [str(number) for number in range(len(names))] if isinstance(names, dict) and names else ["0"]
    if not isinstance(names, dict) or set(names) != set(wanted) or not all(_is_text(n) for n in names.values()):
        raise UserError(
            f"'channel_names' in {source} must name the channels 0, 1, ..., such as "
            '{"0": "CT"}; give the dataset.json of the training.'
        )
    return [names[number] for number in wanted]


def _scheme(table: dict, source: str | Path) -> LabelScheme:
    scheme = read_label_scheme(table, source)
    if scheme.regions is None and scheme.values != list(range(scheme.outputs)):
        raise UserError(
            f"the labels in {source} have the values {', '.join(map(str, scheme.values))}; a network of nnU-Net has "
            "0, 1, 2, ..., so give the dataset.json of the training."
        )
    return scheme


# plans.json -------------------------------------------------------------------------------------------------------


def _configuration(table: dict, name: str, source: str | Path) -> dict[str, Any]:
    """The settings of a configuration with those that it inherits."""
    configurations, lineage = table["configurations"], []
    while name is not None:
        if not isinstance(name, str) or not isinstance(configurations.get(name), dict) or name in lineage:
            has = ", ".join(configurations) or "none"
            raise UserError(
                f"{source} has no usable configuration {name!r} (it has {has}); give the plans.json of the training."
            )
        lineage.append(name)
        name = configurations[name].get("inherits_from")
    settings = {}
    for ancestor in reversed(lineage):
        settings |= configurations[ancestor]
    return settings


def _slices(table: dict, dimension: int, stored: str, source: str | Path) -> tuple[str, tuple[str, ...]]:
    """The plane of the training's slices, and which of their rows and columns ours walk the other way."""
    order = tuple(_numbers(table, "transpose_forward", 3, source))
    if dimension == 2:
        if order != (0, 1, 2):
            raise UserError(
                f"{source} turns pictures ('transpose_forward' is {list(order)}), so that the network saw no pictures "
                "but lines; it cannot be used."
            )
        return "axial", ()
    if stored not in _STORED:
        raise UserError(f"unknown plane '{stored}'; files store slices that are {', '.join(PLANES)}.")
    turning = table.get("image_reader_writer") in _TURNING_READERS
    grid = Grid((2, 2, 2), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), _RAS if turning else _STORED[stored])
    for plane in PLANES:
        slicing = Slicing.of(grid, plane)
        if slicing.permutation == order:
            turned = zip(("rows", "columns"), slicing.flips[1:], strict=True)
            return plane, tuple(axis for axis, is_turned in turned if is_turned)
    raise UserError(
        f"{source} has the 'transpose_forward' {list(order)}, by which the network saw slices of {stored} files with "
        "rows and columns swapped; such a model cannot be used."
    )


def _patch_size(settings: dict, source: str | Path) -> tuple[int, int]:
    patch = _numbers(settings, "patch_size", 2, source, above=0)
    if any(side % _MULTIPLE for side in patch):
        raise UserError(
            f"{source} has patches of {' x '.join(f'{side:g}' for side in patch)} pixels, but the authors' network "
            f"takes multiples of {_MULTIPLE}; give the plans.json of the training."
        )
    return tuple(int(side) for side in patch)


def _spacing_range(table: dict, source: str | Path) -> list[tuple[float, float]]:
    if "original_median_spacing_after_transp" not in table:
        return [_ANY_SPACING] * 3
    median = _numbers(table, "original_median_spacing_after_transp", 3, source, above=0)
    return [(float(side), float(side)) for side in median]


def _normalization(
    settings: dict, table: dict, channels: list[str], source: str | Path
) -> tuple[list[ChannelNormalization], list[tuple[float, float]]]:
    schemes = settings.get("normalization_schemes")
    masked = settings.get("use_mask_for_norm") or [False] * len(channels)
    statistics = table.get("foreground_intensity_properties_per_channel")
    statistics = statistics or table.get("foreground_intensity_properties_by_modality")  # the first versions' name
    if not isinstance(schemes, list) or not isinstance(masked, list) or not isinstance(statistics, dict):
        raise UserError(f"{source} does not say how intensities are normalised; give the plans.json of the training.")
    if not len(schemes) == len(masked) == len(channels):
        raise UserError(
            f"{source} normalises {len(schemes)} channel(s), but dataset.json names {len(channels)} "
            f"({', '.join(channels)}); give the two files of the same training."
        )
    normalizations, ranges = [], []
    for number, (scheme, mask) in enumerate(zip(schemes, masked, strict=True)):
        values = statistics.get(str(number))
        values = values if isinstance(values, dict) else {}
        where = f"{source} (channel {number})"
        normalizations.append(_channel(scheme, bool(mask), values, where))
        ranges.append((_number(values, "percentile_00_5", where), _number(values, "percentile_99_5", where)))
    return normalizations, ranges


def _channel(scheme: Any, mask: bool, values: Mapping[str, Any], source: str) -> ChannelNormalization:
    """Ours that gives the same numbers. Two of nnU-Net's schemes are special cases of a clipping with given numbers."""
    if scheme == "CTNormalization":
        numbers = (_number(values, key, source) for key in ("percentile_00_5", "percentile_99_5", "mean", "std"))
        return ChannelNormalization("ct", *numbers)
    if scheme == "RGBTo01Normalization":  # it takes nothing but 0 to 255
        return ChannelNormalization("ct", 0.0, 255.0, 0.0, 255.0)
    if scheme == "NoNormalization":
        return ChannelNormalization("ct", -_LARGEST_VALUE, _LARGEST_VALUE, 0.0, 1.0)
    if scheme == "ZScoreNormalization" and not mask:
        return ChannelNormalization("zscore")
    how = f"{scheme} within the mask of the body ('use_mask_for_norm')" if scheme == "ZScoreNormalization" else scheme
    raise UserError(f"{source} normalises intensities by {how}, which is not supported; such a model cannot be used.")


# values -----------------------------------------------------------------------------------------------------------


def _text(table: dict, key: str, source: str | Path) -> str:
    if not _is_text(table.get(key)):
        raise UserError(f"{source} does not name its {key!r}; give the file of the training.")
    return table[key]


def _number(table: Mapping[str, Any], key: str, source: str | Path) -> float:
    if not _is_number(table.get(key)):
        raise UserError(f"{source} has no number for {key!r}; give the plans.json of the training.")
    return float(table[key])


def _numbers(table: dict, key: str, count: int, source: str | Path, above: float = -math.inf) -> list[float]:
    values = table.get(key)
    sound = isinstance(values, list) and len(values) == count and all(_is_number(v) and v > above for v in values)
    if not sound:
        raise UserError(f"{key!r} in {source} must be {count} numbers, not {values!r}; give the file of the training.")
    return values


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
