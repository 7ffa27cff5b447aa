"""Cases as the network sees them: canonical slices, normalised and resampled once, kept in memory-mapped files.

A plan of several planes has each case once per plane.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch

from DinoUNetCore.dataset.label_scheme import scheme_of
from DinoUNetCore.dataset.layout import Case, Dataset, check_case
from DinoUNetCore.dataset.plan import Plan
from DinoUNetCore.errors import UserError
from DinoUNetCore.files import atomic_path, read_json, write_json
from DinoUNetCore.volume.geometry import Slicing
from DinoUNetCore.volume.intensity import fit
from DinoUNetCore.volume.resampling import resize, target_size
from DinoUNetCore.volume.volume import Volume, channel_arrays

SLICES_AT_ONCE = 16  # resampled together: quick, and little memory


@dataclass(frozen=True)
class PreparedCase:
    """One case on disk, cut in one plane (of PLANES). images: float16 (slices, channels, rows, columns), normalised;
    labels: class indices (slices, rows, columns). Both are mapped into memory when read, so that workers share them.

    slices_with[c]: numbers of the slices that hold class c. aspect: height by width of a pixel.
    """

    name: str
    images_file: Path
    labels_file: Path
    shape: tuple[int, int, int]
    slices_with: dict[int, list[int]]
    aspect: float
    plane: str

    def images(self) -> np.ndarray:
        return _map(self.images_file)

    def labels(self) -> np.ndarray:
        return _map(self.labels_file)

    @cached_property
    def judged_slices(self) -> list[int]:
        """The slices that hold any class; of sparse annotations, the others are ignored as a whole."""
        return sorted(set().union(*self.slices_with.values())) or list(range(self.shape[0]))


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
) -> dict[str, list[PreparedCase]]:
    """Prepare all cases of the plan's folds in `folder`: {name: the case in each of the plan's planes}.

    A picture, and a volume that is a single slice, come once whatever the planes. What an earlier run prepared with the
    same plan is reused.
    """
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
    names = ("dataset", "planes", "unit", "spacing", "normalization", "labels", "regions", "ignore", "channel_names")
    decisive = [*(table[name] for name in names), resample_channels]
    return hashlib.sha256(json.dumps(decisive).encode()).hexdigest()


def _prepare(
    case: Case, dataset: Dataset, plan: Plan, folder: Path, resample_channels: bool
) -> list[PreparedCase]:
    facts_file = folder / f"{case.name}-facts.json"
    if not facts_file.exists():  # it is written last
        volume, label = check_case(case, dataset, unit=plan.unit, resample_channels=resample_channels)
        slicings = Slicing.in_planes(volume.grid, plan.planes, plan.unit)
        write_json(facts_file, [_cut(case.name, volume, label, slicing, plan, folder) for slicing in slicings])
    return [
        PreparedCase(
            case.name,
            *_array_files(folder, case.name, facts["plane"]),
            tuple(facts["shape"]),
            {int(c): slices for c, slices in facts["slices_with"].items()},
            facts["aspect"],
            facts["plane"],
        )
        for facts in read_json(facts_file)
    ]


def _cut(
    name: str, volume: Volume, label: sitk.Image, slicing: Slicing, plan: Plan, folder: Path
) -> dict[str, Any]:
    """Write the arrays of a case in one plane; returns what is to be known of them."""
    channels = [slicing.cut(channel) for channel in volume.channels]
    rescales = fit(plan.normalization, channels)
    scheme = scheme_of(plan)
    classes = scheme.class_indices(slicing.cut(channel_arrays(label)[0]))
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
    for path, array in zip(_array_files(folder, name, slicing.plane), (images, labels), strict=True):
        _save(path, array)
    rows, columns = (s * n / new for s, n, new in zip(slicing.spacing[1:], classes.shape[1:], size, strict=True))
    return {
        "plane": slicing.plane,
        "shape": list(labels.shape),
        "slices_with": {
            str(c): np.flatnonzero((labels == c).any(axis=(1, 2))).tolist() for c in range(len(scheme.values))
        },
        "aspect": rows / columns,
    }


def _array_files(folder: Path, name: str, plane: str) -> tuple[Path, Path]:
    return folder / f"{name}-{plane}-images.npy", folder / f"{name}-{plane}-labels.npy"


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


def _save(path: Path, array: np.ndarray) -> None:
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.save(file, array)


def remove_prepared(folder: Path) -> None:
    """Delete what `prepare_cases` wrote; nothing happens if it is gone already."""
    shutil.rmtree(folder, ignore_errors=os.name == "nt")  # Windows keeps mapped files until the process ends
