"""Training samples: which slice, where the patch lies, how it is augmented; all decided by (seed, epoch, sample)."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from DinoUNetCore.dataset.augmentation import Augmentation
from DinoUNetCore.dataset.preprocessing import PreparedCase

MARGIN = 1.5
"""Patches are cut this much larger than they are used, so that rotating and shrinking find pixels beyond them."""


class TrainingSlices(Dataset):
    """Map-style data set of augmented patches. An index is (epoch, sample number within the epoch).

    Each sample draws a case, then a slice, then a place. Every third sample of a batch is forced to show a class of the
    foreground (the authors' recipe); the others fall anywhere.
    """

    def __init__(
        self,
        cases: Sequence[PreparedCase],
        patch_size: Sequence[int],
        context_slices: int,
        augmentation: Augmentation,
        seed: int,
    ):
        self.cases = list(cases)
        self.patch_size = tuple(patch_size)
        self.context_slices = context_slices
        self.augmentation = augmentation
        self.seed = seed

    def __getitem__(self, index: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """(channels, rows, columns) float32 and (rows, columns) int64."""
        epoch, sample = index
        random = np.random.default_rng((self.seed, epoch, sample))
        case = self.cases[random.integers(len(self.cases))]
        forced = sample % 3 == 2
        slice_index, centre = self._choose_place(case, forced, random)
        window = tuple(int(np.ceil(side * MARGIN)) for side in self.patch_size)
        image = cut_patch(slice_with_context(case.images(), slice_index, self.context_slices), centre, window)
        label = cut_patch(case.labels()[slice_index][None], centre, window)
        return self.augmentation(image, label, random)

    def _choose_place(self, case: PreparedCase, forced: bool, random: np.random.Generator) -> tuple[int, list[int]]:
        present = [c for c, slices in case.slices_with.items() if c > 0 and slices]
        if forced and present:
            chosen = present[random.integers(len(present))]
            slice_index = int(random.choice(case.slices_with[chosen]))
            pixels = np.argwhere(case.labels()[slice_index] == chosen)
            aim = pixels[random.integers(len(pixels))]
        else:
            slice_index = int(random.integers(case.shape[0]))
            aim = [int(random.integers(side)) for side in case.shape[1:]]
        sides = zip(aim, case.shape[1:], self.patch_size, strict=True)
        return slice_index, [self._keep_inside(*side) for side in sides]

    @staticmethod
    def _keep_inside(aim: int, side: int, patch: int) -> int:
        """The patch's centre nearest to `aim` whose patch lies within the slice; the middle of a smaller slice."""
        if side <= patch:
            return side // 2
        return int(np.clip(aim, patch // 2, side - (patch - patch // 2)))


class EpochSampler(Sampler):
    """Hands out the indices (epoch, 0), (epoch, 1), ... Set `epoch` before each pass."""

    def __init__(self, samples: int):
        self.samples = samples
        self.epoch = 0

    def __len__(self) -> int:
        return self.samples

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter([(self.epoch, sample) for sample in range(self.samples)])


def slice_with_context(images: np.ndarray, index: int, context_slices: int) -> np.ndarray:
    """(slices, channels, H, W) -> (channels * context_slices, H, W) float32: the slice, or, with three context slices, the
    one before, itself and the one after; the first and last slice are their own neighbours.
    """
    if context_slices == 1:
        return images[index].astype(np.float32)
    neighbours = np.clip([index - 1, index, index + 1], 0, len(images) - 1)
    return np.concatenate([images[i] for i in neighbours]).astype(np.float32)


def cut_patch(array: np.ndarray, centre: Sequence[int], size: Sequence[int]) -> np.ndarray:
    """(C, H, W) -> (C, *size) around `centre` (row, column); beyond the border its last pixels repeat."""
    rows, columns = (
        np.clip(np.arange(c - n // 2, c - n // 2 + n), 0, side - 1)
        for c, n, side in zip(centre, size, array.shape[1:], strict=True)
    )
    return array[:, rows[:, None], columns[None, :]]


def validation_batch(case: PreparedCase, indices: Sequence[int], context_slices: int) -> tuple[Tensor, Tensor]:
    """Whole slices of one case without augmentation: (N, C, H, W) float32 and (N, H, W) int64."""
    images, labels = case.images(), case.labels()
    pixels = np.stack([slice_with_context(images, index, context_slices) for index in indices])
    return torch.from_numpy(pixels), torch.from_numpy(labels[list(indices)].astype(np.int64))
