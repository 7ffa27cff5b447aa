"""A small data set of nnU-Net's region-based labels with ignored voxels: balls with a core, in noise."""

import json
from pathlib import Path

import numpy as np
import SimpleITK as sitk

LABELS = {"background": 0, "whole": [1, 2], "core": 2, "ignore": 3}
IGNORED_COLUMNS = 6


def write_region_dataset(folder: Path, cases: int = 3, size: tuple[int, int, int] = (6, 40, 48)) -> Path:
    """cases volumes. The first columns are ignored: what they show is bright like a core, and contradicts the rest."""
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    random = np.random.default_rng(0)
    grid = np.indices(size).astype(float)
    for case in range(cases):
        centre = np.array(size) * random.uniform(0.4, 0.6, 3)
        distance = np.sqrt(((grid[1] - centre[1]) ** 2) + (grid[2] - centre[2]) ** 2)
        label = np.zeros(size, np.uint8)
        label[distance < 12], label[distance < 6] = 1, 2
        image = 40 + 80.0 * label + random.normal(0, 5, size)
        image[..., :IGNORED_COLUMNS], label[..., :IGNORED_COLUMNS] = 200, 3
        for array, path in ((image.astype(np.int16), f"imagesTr/case_{case}_0000"), (label, f"labelsTr/case_{case}")):
            written = sitk.GetImageFromArray(array)
            written.SetSpacing((1.0, 1.0, 2.0))
            sitk.WriteImage(written, str(folder / f"{path}.nii.gz"))
    table = {
        "name": "Cores",
        "channel_names": {"0": "MR"},
        "labels": LABELS,
        "regions_class_order": [1, 2],
        "numTraining": cases,
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(table), encoding="utf-8")
    return folder
