"""nnU-Net v2 raw folders: dataset.json, imagesTr/<case>_0000<ending>, labelsTr/<case><ending>.

Format: https://github.com/MIC-DKFZ/nnUNet/blob/master/documentation/dataset_format.md
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from DinoUNetCore.dataset.dataset_json import Description
from DinoUNetCore.dataset.label_scheme import scheme_of
from DinoUNetCore.dataset.problems import Problems
from DinoUNetCore.errors import UserError
from DinoUNetCore.volume.geometry import grid_difference
from DinoUNetCore.volume.reading import is_picture, read_image, read_label_map, read_volume
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
    """A raw folder. labels, regions, ignore: as in `LabelScheme`; `labels` is ordered by value and starts with the
    background's 0. `cases` are sorted by name.
    """

    folder: Path
    name: str
    channel_names: list[str]
    labels: dict[str, int]
    file_ending: str
    cases: list[Case]
    regions: dict[str, list[int]] | None = None
    ignore: int | None = None

    @property
    def unit(self) -> str:
        """What lengths in its 2D images count in: "pixel" in picture files, which store a printer's resolution."""
        return "pixel" if is_picture(self.file_ending) else "mm"


def read_dataset(
    folder: str | Path, groups: str | Path | None = None, problems: Problems | None = None
) -> Dataset:
    """Find the cases of an nnU-Net v2 raw folder, without opening an image.

    `groups` is a JSON file {"groups": {case: group}} or {case: group} that replaces the "groups" of dataset.json.
    Cases of one group (a patient) stay together when folds are made; a case without a group is a group of its own.
    All that is wrong is a UserError with one sentence each. With `problems`, what is wrong with the cases' files is put
    there instead, and such cases are left out, so that the others can be looked at before all is refused.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; name an nnU-Net v2 raw folder (dataset.json, imagesTr, labelsTr).")
    description = Description.read(folder / "dataset.json")
    found = Problems() if problems is None else problems
    images, label_files = _find_files(folder, description, found)
    group_of = dict.fromkeys(images, "")
    with found.collecting():
        description.check_number_of_cases(len(images))
    with found.collecting():
        group_of = description.groups(set(images), groups)
    if problems is None:
        found.refuse()
    cases = [
        Case(name, images[name], label_files[name], group_of[name])
        for name in sorted(images)
        if images[name] and name in label_files
    ]
    scheme = description.scheme
    return Dataset(
        folder,
        description.name,
        description.channel_names,
        scheme.labels,
        description.file_ending,
        cases,
        scheme.regions,
        scheme.ignore,
    )


def check_case(
    case: Case, dataset: Dataset, *, unit: str | None = None, resample_channels: bool = False
) -> tuple[Volume, sitk.Image]:
    """Read one case and check that image, label map and dataset.json agree.

    unit: what lengths count in (of UNITS; None: the data set's). In pixels, 2D images need the same size only.

    Returns the volume (one array per channel name) and its label map, both on the same grid. UserErrors, all that
    apply together: an unreadable file, another number of channels, different grids, label values that dataset.json does
    not name.
    """
    unit = unit or dataset.unit
    volume = label = None
    problems = Problems()
    with problems.collecting():
        volume = _read_channels(case, resample_channels, unit)
        _check_number_of_channels(case, volume, dataset)
    with problems.collecting():
        label = read_label_map(case.label)
        _check_values(case, label, dataset)
    if volume is not None and label is not None:
        with problems.collecting():
            _check_same_grid(case, volume.grid, Grid.of(label), unit)
    problems.refuse()
    return volume, label


def count_labels(label: sitk.Image) -> dict[int, int]:
    """Count the voxels of each value in a label map: {value: voxels}, ordered by value."""
    array = sitk.GetArrayViewFromImage(label)
    counts: dict[int, int] = {}
    for part in array if array.ndim == 3 else [array]:  # slice by slice, so that no copy of a volume is sorted
        for value, number in zip(*np.unique(part, return_counts=True), strict=True):
            counts[int(value)] = counts.get(int(value), 0) + int(number)
    return dict(sorted(counts.items()))


def _read_channels(case: Case, resample_channels: bool, unit: str) -> Volume:
    try:
        return read_volume(case.images, resample_channels, unit)
    except UserError:
        problems = Problems()
        for path in case.images:  # more than one file may be broken
            with problems.collecting():
                read_image(path)
        problems.refuse()
        raise


def _check_number_of_channels(case: Case, volume: Volume, dataset: Dataset) -> None:
    if len(volume.channels) != len(dataset.channel_names):
        raise UserError(
            f"{case.images[0]} and its sister files hold {len(volume.channels)} channel(s), but dataset.json names "
            f"{len(dataset.channel_names)} ({', '.join(dataset.channel_names)}); correct channel_names or the files."
        )


def _check_values(case: Case, label: sitk.Image, dataset: Dataset) -> None:
    unknown = sorted(set(count_labels(label)) - set(scheme_of(dataset).known_values))
    if unknown:
        shown = ", ".join(map(str, unknown[:8])) + (", ..." if len(unknown) > 8 else "")
        raise UserError(
            f"{case.label} holds label value(s) {shown}, which dataset.json does not name; "
            "add them to its labels or correct the file."
        )


def _check_same_grid(case: Case, image: Grid, label: Grid, unit: str) -> None:
    difference = grid_difference(image, label, unit)
    if difference:
        raise UserError(
            f"{case.label} lies on another grid than {case.images[0].name} ({difference}); "
            "resample the label map onto the image with nearest neighbours, or correct its header."
        )


# files ------------------------------------------------------------------------------------------------------------


def _find_files(
    folder: Path, description: Description, problems: Problems
) -> tuple[dict[str, tuple[Path, ...]], dict[str, Path]]:
    """The image files and the label map of each case; () where image files are missing or too many."""
    ending = description.file_ending
    images: dict[str, tuple[Path, ...]] = {}
    labels: dict[str, Path] = {}
    with problems.collecting():
        images = _find_images(folder / "imagesTr", ending, len(description.channel_names), problems)
    with problems.collecting():
        labels = {stem: folder / "labelsTr" / (stem + ending) for stem in _stems(folder / "labelsTr", ending)}
    if images and labels:
        for case in sorted(images.keys() - labels.keys()):
            image = folder / "imagesTr" / f"{case}_0000{ending}"
            problems.add(f"{image} has no label map; add {folder / 'labelsTr' / (case + ending)} or remove the image.")
        for case in sorted(labels.keys() - images.keys()):
            problems.add(f"{labels[case]} has no image; add imagesTr/{case}_0000{ending} or remove the label map.")
    return images, labels


def _stems(folder: Path, ending: str) -> list[str]:
    """The names of the files in `folder` that have this ending, without it. UserError if there are none."""
    if not folder.is_dir():
        raise UserError(f"{folder} is missing; an nnU-Net v2 raw folder holds dataset.json, imagesTr and labelsTr.")
    # names that begin with a dot are not images: macOS leaves "._case_0000.nii.gz" on foreign disks
    names = sorted(p.name for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    matching = [name.removesuffix(ending) for name in names if name.endswith(ending)]
    if not matching:
        held = f"it holds, for example, {names[0]}" if names else "it is empty"
        raise UserError(f"{folder} holds no file that ends in {ending} ({held}); check file_ending in dataset.json.")
    return matching


def _find_images(folder: Path, ending: str, channels: int, problems: Problems) -> dict[str, tuple[Path, ...]]:
    images: dict[str, tuple[Path, ...]] = {}
    numbers: dict[str, set[int]] = {}
    for stem in _stems(folder, ending):
        match = re.fullmatch(r"(.+)_(\d{4})", stem)
        if match is None:
            problems.add(
                f"{folder / (stem + ending)} has no channel number; rename it to {stem}_0000{ending} (nnU-Net v2 names "
                f"images CASE_0000{ending})."
            )
            images[stem] = ()  # its label map is not told to lack an image
        else:
            numbers.setdefault(match[1], set()).add(int(match[2]))
    for case, found in numbers.items():
        images[case] = _channel_files(folder, case, ending, found, channels, problems)
    return images


def _channel_files(
    folder: Path, case: str, ending: str, found: set[int], channels: int, problems: Problems
) -> tuple[Path, ...]:
    """The case's files in the order of the channels; () if they are not those that dataset.json names."""
    one_rgb_file = channels == 3 and found == {0}
    wanted = {0} if one_rgb_file else set(range(channels))
    for number in sorted(found - wanted):
        extra = folder / f"{case}_{number:04d}{ending}"
        problems.add(f"{extra} is a channel that dataset.json does not name; remove it or add it to channel_names.")
    for number in sorted(wanted - found):
        missing = folder / f"{case}_{number:04d}{ending}"
        problems.add(f"{missing} is missing: dataset.json names {channels} channel(s); add the file.")
    return tuple(folder / f"{case}_{number:04d}{ending}" for number in sorted(wanted)) if found == wanted else ()
