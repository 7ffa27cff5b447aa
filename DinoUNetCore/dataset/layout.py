"""nnU-Net v2 raw folders: dataset.json, imagesTr/<case>_0000<ending>, labelsTr/<case><ending>.

Format: https://github.com/MIC-DKFZ/nnUNet/blob/master/documentation/dataset_format.md
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from DinoUNetCore.errors import UserError
from DinoUNetCore.files import read_json
from DinoUNetCore.volume.geometry import grid_difference
from DinoUNetCore.volume.reading import is_picture, read_label_map, read_volume
from DinoUNetCore.volume.volume import Grid, Volume


@dataclass(frozen=True)
class Case:
    """One labelled image: the files of its channels (or one RGB file), its label map, and whom it belongs to."""

    name: str
    images: tuple[Path, ...]
    label: Path
    group: str


@dataclass(frozen=True)
class Dataset:
    """A raw folder. `labels` is ordered by value and starts with the background's 0; `cases` are sorted by name."""

    folder: Path
    name: str
    channel_names: list[str]
    labels: dict[str, int]
    file_ending: str
    cases: list[Case]

    @property
    def unit(self) -> str:
        """What lengths in its 2D images count in: "pixel" in picture files, which store a printer's resolution."""
        return "pixel" if is_picture(self.file_ending) else "mm"


def read_dataset(folder: str | Path, groups: str | Path | None = None) -> Dataset:
    """Find the cases of an nnU-Net v2 raw folder, without opening an image.

    `groups` is a JSON file {"groups": {case: group}} or {case: group} that replaces the "groups" of dataset.json.
    Cases of one group (a patient) stay together when folds are made; a case without a group is a group of its own.
    Every defect is a UserError with one sentence.
    """
    folder = Path(folder)
    table_file = folder / "dataset.json"
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; name an nnU-Net v2 raw folder (dataset.json, imagesTr, labelsTr).")
    if not table_file.is_file():
        raise UserError(f"{table_file} is missing; name an nnU-Net v2 raw folder (dataset.json, imagesTr, labelsTr).")
    table = read_json(table_file)
    if not isinstance(table, dict):
        raise UserError(f"{table_file} must hold a JSON object with channel_names, labels and file_ending.")

    channel_names = _read_channel_names(table, table_file)
    labels = _read_labels(table, table_file)
    ending = _read_file_ending(table, table_file)
    images = _find_images(folder / "imagesTr", ending, len(channel_names))
    label_files = _find_label_files(folder / "labelsTr", ending, images)
    _check_number_of_cases(table, table_file, len(images))
    group_of = _read_groups(table, table_file, groups, set(images))
    cases = [Case(name, images[name], label_files[name], group_of[name]) for name in sorted(images)]
    name = table.get("name")
    name = name if isinstance(name, str) and name.strip() else folder.resolve().name
    return Dataset(folder, name, channel_names, labels, ending, cases)


def check_case(
    case: Case, dataset: Dataset, *, unit: str | None = None, resample_channels: bool = False
) -> tuple[Volume, sitk.Image]:
    """Read one case and check that image, label map and dataset.json agree.

    unit: what lengths count in (of UNITS; None: the data set's). In pixels, 2D images need the same size only.

    Returns the volume (one array per channel name) and its label map, both on the same grid. UserErrors: an unreadable
    file, another number of channels, different grids, label values that dataset.json does not name.
    """
    unit = unit or dataset.unit
    volume = read_volume(case.images, resample_channels, unit)
    if len(volume.channels) != len(dataset.channel_names):
        raise UserError(
            f"{case.images[0]} and its sister files hold {len(volume.channels)} channel(s), but dataset.json names "
            f"{len(dataset.channel_names)} ({', '.join(dataset.channel_names)}); correct channel_names or the files."
        )
    label = read_label_map(case.label)
    _check_same_grid(case, volume.grid, Grid.of(label), unit)
    unknown = sorted(set(count_labels(label)) - set(dataset.labels.values()))
    if unknown:
        shown = ", ".join(map(str, unknown[:8])) + (", ..." if len(unknown) > 8 else "")
        raise UserError(
            f"{case.label} holds label value(s) {shown}, which dataset.json does not name; "
            "add them to its labels or correct the file."
        )
    return volume, label


def count_labels(label: sitk.Image) -> dict[int, int]:
    """Count the voxels of each value in a label map: {value: voxels}, ordered by value."""
    array = sitk.GetArrayViewFromImage(label)
    counts: dict[int, int] = {}
    for part in array if array.ndim == 3 else [array]:  # slice by slice, so that no copy of a volume is sorted
        for value, number in zip(*np.unique(part, return_counts=True), strict=True):
            counts[int(value)] = counts.get(int(value), 0) + int(number)
    return dict(sorted(counts.items()))


def _check_same_grid(case: Case, image: Grid, label: Grid, unit: str) -> None:
    difference = grid_difference(image, label, unit)
    if difference:
        raise UserError(
            f"{case.label} lies on another grid than {case.images[0].name} ({difference}); "
            "resample the label map onto the image with nearest neighbours, or correct its header."
        )


# dataset.json -----------------------------------------------------------------------------------------------------


def _entry(table: dict, key: str, kind: type, file: Path) -> Any:
    if key not in table:
        if "modality" in table:
            raise UserError(
                f"{file} is in the old format of nnU-Net v1 or the Decathlon (it has 'modality' and no {key!r}); "
                "convert the folder, for example with nnUNetv2_convert_MSD_dataset."
            )
        raise UserError(f"{file} has no {key!r}; add it as the nnU-Net v2 format asks.")
    if not isinstance(table[key], kind) or not table[key]:
        wanted = "a table that is not empty" if kind is dict else "a text that is not empty"
        raise UserError(f"{key!r} in {file} must be {wanted}.")
    return table[key]


def _read_channel_names(table: dict, file: Path) -> list[str]:
    names = _entry(table, "channel_names", dict, file)
    wanted = [str(number) for number in range(len(names))]
    if sorted(names) != sorted(wanted):
        raise UserError(f"'channel_names' in {file} must number the channels {', '.join(wanted)}, not {list(names)}.")
    if not all(isinstance(name, str) and name.strip() for name in names.values()):
        raise UserError(f"every name among 'channel_names' in {file} must be a text that is not empty.")
    return [names[number] for number in wanted]


def _read_labels(table: dict, file: Path) -> dict[str, int]:
    labels = _entry(table, "labels", dict, file)
    for name, value in labels.items():
        if isinstance(value, list) or "regions_class_order" in table:
            raise UserError(
                f"{file} describes region-based labels (label {name!r} lists several values or regions_class_order is "
                "set), which are not supported yet; give every label one value."
            )
        if name.strip().casefold() == "ignore":
            raise UserError(
                f"{file} has an 'ignore' label, which is not supported yet; relabel or leave out its voxels."
            )
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**31:
            raise UserError(
                f"label {name!r} in {file} has the value {value!r}; write name: value, with whole numbers from 0 up, "
                'such as {"background": 0, "liver": 1}.'
            )
        if not name.strip():
            raise UserError(f"the label of value {value} in {file} has an empty name; give it one.")
    by_value: dict[int, str] = {}
    for name, value in labels.items():
        if value in by_value:
            raise UserError(f"labels {by_value[value]!r} and {name!r} in {file} have the same value {value}.")
        by_value[value] = name
    if 0 not in by_value:
        raise UserError(f'labels in {file} do not name the background; add "background": 0.')
    if len(by_value) < 2:
        raise UserError(f"labels in {file} name nothing but the background; add what is to be segmented.")
    return {by_value[value]: value for value in sorted(by_value)}


def _read_file_ending(table: dict, file: Path) -> str:
    ending = _entry(table, "file_ending", str, file)
    if not ending.startswith(".") or len(ending) < 2:
        raise UserError(f"'file_ending' in {file} is {ending!r}; it must begin with a dot, such as '.nii.gz'.")
    return ending


def _check_number_of_cases(table: dict, file: Path, found: int) -> None:
    expected = table.get("numTraining", found)
    if expected != found:
        raise UserError(
            f"{file} says numTraining {expected!r}, but imagesTr holds {found} case(s); add the missing files or "
            "correct the number."
        )


# files ------------------------------------------------------------------------------------------------------------


def _names_with_ending(folder: Path, ending: str) -> list[str]:
    if not folder.is_dir():
        raise UserError(f"{folder} is missing; an nnU-Net v2 raw folder holds dataset.json, imagesTr and labelsTr.")
    # names that begin with a dot are not images: macOS leaves "._case_0000.nii.gz" on foreign disks
    names = sorted(p.name for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    matching = [name.removesuffix(ending) for name in names if name.endswith(ending)]
    if not matching:
        held = f"it holds, for example, {names[0]}" if names else "it is empty"
        raise UserError(f"{folder} holds no file that ends in {ending} ({held}); check file_ending in dataset.json.")
    return matching


def _find_images(folder: Path, ending: str, channels: int) -> dict[str, tuple[Path, ...]]:
    found: dict[str, set[int]] = {}
    for stem in _names_with_ending(folder, ending):
        match = re.fullmatch(r"(.+)_(\d{4})", stem)
        if match is None:
            raise UserError(
                f"{folder / (stem + ending)} has no channel number; rename it to {stem}_0000{ending} (nnU-Net v2 names "
                f"images CASE_0000{ending})."
            )
        found.setdefault(match[1], set()).add(int(match[2]))
    images = {}
    for case, numbers in found.items():
        one_rgb_file = channels == 3 and numbers == {0}
        wanted = {0} if one_rgb_file else set(range(channels))
        if numbers - wanted:
            extra = folder / f"{case}_{min(numbers - wanted):04d}{ending}"
            raise UserError(
                f"{extra} is a channel that dataset.json does not name; remove it or add it to channel_names."
            )
        if wanted - numbers:
            missing = folder / f"{case}_{min(wanted - numbers):04d}{ending}"
            raise UserError(f"{missing} is missing: dataset.json names {channels} channel(s); add the file.")
        images[case] = tuple(folder / f"{case}_{number:04d}{ending}" for number in sorted(wanted))
    return images


def _find_label_files(folder: Path, ending: str, images: dict[str, tuple[Path, ...]]) -> dict[str, Path]:
    labels = {stem: folder / (stem + ending) for stem in _names_with_ending(folder, ending)}
    for case in sorted(images):
        if case not in labels:
            raise UserError(f"{images[case][0]} has no label map; add {folder / (case + ending)} or remove the image.")
    for case in sorted(labels):
        if case not in images:
            raise UserError(f"{labels[case]} has no image; add imagesTr/{case}_0000{ending} or remove the label map.")
    return labels


def _read_groups(table: dict, table_file: Path, groups_file: str | Path | None, cases: set[str]) -> dict[str, str]:
    source, groups = table_file, table.get("groups", {})
    if groups_file is not None:
        source, groups = Path(groups_file), read_json(groups_file)
        if isinstance(groups, dict) and isinstance(groups.get("groups"), dict):
            groups = groups["groups"]
    if not isinstance(groups, dict) or not all(
        isinstance(group, (str, int)) and not isinstance(group, bool) for group in groups.values()
    ):
        raise UserError(f'the groups in {source} must have the form {{"case": "group"}}, with a text for each group.')
    for case in groups:
        if case not in cases:
            raise UserError(f"the groups in {source} name the case {case!r}, which has no image; remove or correct it.")
    named = {str(group) for group in groups.values()}
    alone = {case: case if case not in named else f"{case} (alone)" for case in cases}
    return {case: str(groups.get(case, alone[case])) for case in cases}
