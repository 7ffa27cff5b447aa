"""A small data set in nnU-Net's raw layout: bright balls in noise, quick to train on."""

import json
from pathlib import Path

import numpy as np
import SimpleITK as sitk


def write_small_dataset(
    folder: Path,
    cases: int = 3,
    *,
    size: tuple[int, ...] = (6, 40, 48),
    labels: dict[str, int] | None = None,
    resolutions: tuple[float, float] = (1.0, 1.0),
) -> Path:
    """cases volumes (or pictures, if size has two sides) with one ball per label; label values may have gaps.

    resolutions: mm per pixel that pictures and their masks store.
    """
    labels = labels or {"background": 0, "ball": 1, "shell": 4}
    picture = len(size) == 2
    ending = ".png" if picture else ".nii.gz"
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    random = np.random.default_rng(0)
    for case in range(cases):
        shape = np.array(size)
        centre = shape * random.uniform(0.4, 0.6, len(size))
        grid = np.indices(size).astype(float)
        distance = np.sqrt(
            sum(((g - c) / s * 40) ** 2 for g, c, s in zip(grid, centre, np.maximum(shape, 20), strict=True))
        )
        label = np.zeros(size, dtype=np.uint8 if max(labels.values()) < 256 else np.int32)
        values = sorted(value for value in labels.values() if value)
        for number, value in enumerate(reversed(values)):
            label[distance < 12 - 4 * number] = value
        image = np.where(label > 0, 120, 40) + 10.0 * label + random.normal(0, 5, size)
        pixels = sitk.GetImageFromArray(image.clip(0, 255).astype(np.uint8 if picture else np.int16))
        mask = sitk.GetImageFromArray(label)
        for written, resolution in zip((pixels, mask), resolutions, strict=True):
            written.SetSpacing((resolution, resolution) if picture else (1.0, 1.0, 2.0))
        sitk.WriteImage(pixels, str(folder / "imagesTr" / f"case_{case}_0000{ending}"))
        sitk.WriteImage(mask, str(folder / "labelsTr" / f"case_{case}{ending}"))
    table = {
        "channel_names": {"0": "MR"},
        "labels": labels,
        "numTraining": cases,
        "file_ending": ending,
        "name": "Balls",
    }
    (folder / "dataset.json").write_text(json.dumps(table), encoding="utf-8")
    return folder
