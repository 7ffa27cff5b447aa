"""Cases as the network sees them: canonical slices, normalised and resampled once, kept in memory-mapped files."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from DinoUNetCore.dataset.layout import Case, Dataset, check_case
from DinoUNetCore.dataset.plan import Plan
from DinoUNetCore.errors import UserError
from DinoUNetCore.files import atomic_path, read_json, write_json
from DinoUNetCore.volume.geometry import Slicing
from DinoUNetCore.volume.intensity import fit
from DinoUNetCore.volume.resampling import resize, target_size
from DinoUNetCore.volume.volume import channel_arrays

SLICES_AT_ONCE = 16  # resampled together: quick, and little memory


@dataclass(frozen=True)
class PreparedCase:
    """One case on disk. images: float16 (slices, channels, rows, columns), normalised; labels: the network's class
    indices (slices, rows, columns). Both are mapped into memory when read, so that workers share them.

    slices_with[c]: numbers of the slices that hold class c. aspect: height by width of a pixel.
    """

    name: str
    images_file: Path
    labels_file: Path
    shape: tuple[int, int, int]
    slices_with: dict[int, list[int]]
    aspect: float

    def images(self) -> np.ndarray:
        return _map(self.images_file)

    def labels(self) -> np.ndarray:
        return _map(self.labels_file)


def _map(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise UserError(
            f"{path} is damaged or gone ({error}); delete the folder {path.parent} and go on with --resume, which "
            "prepares the cases again."
        ) from error


def prepare_cases(
    dataset: Dataset,
    plan: Plan,
    folder: Path,
    *,
    resample_channels: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, PreparedCase]:
    """Prepare all cases of the plan's folds in `folder`. What an earlier run prepared with the same plan is reused."""
    key = _key(plan, resample_channels)
    index = folder / "prepared.json"
    if index.exists() and read_json(index).get("key") != key:
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if not index.exists():
        write_json(index, {"key": key})
    used = {name for fold in plan.folds for name in fold}
    cases = [case for case in dataset.cases if case.name in used]
    prepared = {}
    for number, case in enumerate(cases):
        if progress:
            progress(number, len(cases))
        prepared[case.name] = _prepare(case, dataset, plan, folder, resample_channels)
    if progress:
        progress(len(cases), len(cases))
    return prepared


def _key(plan: Plan, resample_channels: bool) -> str:
    table = plan.to_json()
    names = ("dataset", "plane", "unit", "spacing", "normalization", "labels", "channel_names")
    decisive = [*(table[name] for name in names), resample_channels]
    return hashlib.sha256(json.dumps(decisive).encode()).hexdigest()


def _prepare(case: Case, dataset: Dataset, plan: Plan, folder: Path, resample_channels: bool) -> PreparedCase:
    images_file, labels_file, facts_file = (
        folder / f"{case.name}{ending}" for ending in ("-images.npy", "-labels.npy", ".json")
    )
    if not facts_file.exists():  # it is written last
        volume, label = check_case(case, dataset, unit=plan.unit, resample_channels=resample_channels)
        slicing = Slicing.of(volume.grid, plan.plane, plan.unit)
        channels = [slicing.cut(channel) for channel in volume.channels]
        rescales = fit(plan.normalization, channels)
        classes = _class_indices(slicing.cut(channel_arrays(label)[0]), plan)
        size = target_size(classes.shape[1:], slicing.spacing[1:], plan.spacing)
        images = np.empty((len(classes), len(channels), *size), dtype=np.float16)
        labels = np.empty((len(classes), *size), dtype=classes.dtype)
        for start in range(0, len(classes), SLICES_AT_ONCE):
            part = slice(start, start + SLICES_AT_ONCE)
            pixels = np.stack(
                [rescale(channel[part]) for rescale, channel in zip(rescales, channels, strict=True)], axis=1
            )
            images[part] = resize(torch.from_numpy(pixels), size).clamp(-65504, 65504).numpy()
            labels[part] = resize_classes(classes[part], size)
        _save(images_file, images)
        _save(labels_file, labels)
        rows, columns = (s * n / new for s, n, new in zip(slicing.spacing[1:], classes.shape[1:], size, strict=True))
        facts = {
            "shape": list(labels.shape),
            "slices_with": {
                str(c): np.flatnonzero((labels == c).any(axis=(1, 2))).tolist() for c in range(len(plan.labels))
            },
            "aspect": rows / columns,
        }
        write_json(facts_file, facts)
    facts = read_json(facts_file)
    return PreparedCase(
        case.name,
        images_file,
        labels_file,
        tuple(facts["shape"]),
        {int(c): slices for c, slices in facts["slices_with"].items()},
        facts["aspect"],
    )


def resize_classes(classes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(slices, H, W) class indices to (slices, *size): each class is resized as a smooth mask, the strongest wins.

    Nearest neighbour would give staircases as borders, which no network can or should learn.
    """
    if classes.shape[1:] == tuple(size):
        return classes
    result = np.zeros((len(classes), *size), dtype=classes.dtype)
    strongest = torch.zeros(len(classes), *size)
    for present in np.unique(classes):
        mask = resize(torch.from_numpy((classes == present).astype(np.float32))[:, None], size)[:, 0]
        stronger = mask > strongest
        result[stronger.numpy()] = present
        strongest = torch.maximum(strongest, mask)
    return result


def _class_indices(values: np.ndarray, plan: Plan) -> np.ndarray:
    """Label values to 0, 1, ..., number of labels - 1, in the order of the values."""
    table = np.array(sorted(plan.labels.values()))
    dtype = np.uint8 if len(table) <= 256 else np.uint16
    return np.searchsorted(table, np.ascontiguousarray(values)).astype(dtype)


def _save(path: Path, array: np.ndarray) -> None:
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.save(file, array)


def remove_prepared(folder: Path) -> None:
    """Delete what `prepare_cases` wrote; nothing happens if it is gone already."""
    shutil.rmtree(folder, ignore_errors=os.name == "nt")  # Windows keeps mapped files until the process ends
