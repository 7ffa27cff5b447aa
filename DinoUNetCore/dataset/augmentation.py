"""Augmentation of training patches by MONAI's transforms; the list is the authors' (nnU-Net's)."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import pi

import numpy as np
import torch
from torch import Tensor

from DinoUNetCore.errors import UserError


@dataclass(frozen=True)
class AugmentationSettings:
    """Strength of the augmentation. rotation: degrees either way. mirror: of "rows" and "columns"."""

    rotation: float = 180.0
    spatial_probability: float = 0.2
    mirror: tuple[str, ...] = ("rows", "columns")


class Augmentation:
    """Callable: a window (C, H, W) and its labels (1, H, W) -> patch (C, h, w) float32, classes (h, w) int64.

    Randomness comes from the generator that is passed in, so a sample is the same whoever computes it.
    Reference: nnU-Net (Isensee 2021), supplementary note 2; the numbers are those of the authors' training log.
    """

    def __init__(self, settings: AugmentationSettings, patch_size: tuple[int, int]):
        self.settings = settings
        self.patch_size = patch_size
        self._transforms = None
        self._randomizable = []

    def __call__(self, image: np.ndarray, label: np.ndarray, random: np.random.Generator) -> tuple[Tensor, Tensor]:
        if self._transforms is None:  # made where it is used: worker processes are spawned
            self._transforms = _build(self.settings, self.patch_size)
            self._randomizable = list(_randomizable(self._transforms))
        state = np.random.RandomState(random.integers(2**32, dtype=np.uint64))
        for transform in self._randomizable:  # one generator for all: MONAI would seed one for each, which takes longer
            transform.R = state
        sample = {"image": torch.from_numpy(image), "label": torch.from_numpy(label.astype(np.float32))}
        sample = self._transforms(sample)
        return sample["image"].contiguous(), sample["label"][0].round().long()

    def __getstate__(self) -> dict:
        return {**vars(self), "_transforms": None, "_randomizable": []}


def _build(settings: AugmentationSettings, patch_size: tuple[int, int]):
    try:
        from monai import transforms as mt
        from monai.data import set_track_meta
    except ImportError as error:
        raise UserError('training needs MONAI: python -m pip install "dinounet-slicer[train]".') from error
    set_track_meta(False)
    angle = settings.rotation * pi / 180
    p = settings.spatial_probability
    both, modes = ("image", "label"), ("bilinear", "nearest")
    axes = {"rows": 0, "columns": 1}
    affine = {"keys": both, "spatial_size": patch_size, "mode": modes, "padding_mode": "border"}
    return mt.Compose(
        [
            # two transforms, as rotating and scaling are drawn apart; the second one cuts the patch out of the window
            mt.RandRotated(both, range_x=angle, prob=p, mode=modes, padding_mode="border"),
            # MONAI scales coordinates, not the picture: 0.71 to 1.43 magnifies by 1.4 to 0.7
            mt.RandAffined(prob=p, scale_range=(-0.286, 0.429), **affine),
            mt.RandGaussianNoised("image", prob=0.1, std=0.3),
            mt.RandGaussianSmoothd("image", prob=0.2, sigma_x=(0.5, 1.0), sigma_y=(0.5, 1.0)),
            mt.RandScaleIntensityd("image", prob=0.15, factors=0.25),
            mt.RandScaleIntensityFixedMeand("image", prob=0.15, factors=0.25, preserve_range=True),
            mt.RandSimulateLowResolutiond("image", prob=0.25, zoom_range=(0.5, 1.0), upsample_mode="bilinear"),
            mt.RandAdjustContrastd("image", prob=0.1, gamma=(0.7, 1.5), invert_image=True, retain_stats=True),
            mt.RandAdjustContrastd("image", prob=0.3, gamma=(0.7, 1.5), retain_stats=True),
            *(mt.RandFlipd(both, prob=0.5, spatial_axis=axes[axis]) for axis in settings.mirror),
        ]
    )


def _randomizable(compose) -> Iterator:
    """The random transforms of a Compose, and those that they hold themselves."""
    from monai.transforms import Randomizable

    for transform in compose.transforms:
        for candidate in (transform, *vars(transform).values()):
            if isinstance(candidate, Randomizable):
                yield candidate
                yield from (inner for inner in vars(candidate).values() if isinstance(inner, Randomizable))
