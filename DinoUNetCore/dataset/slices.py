"""Samples: which slice, where the patch lies, how it is augmented; all decided by (seed, epoch, sample)."""

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
    """Map-style data set of patches, augmented unless `augmentation` is None. An index is (epoch, sample number in it).

    Each sample draws a case, then a slice, then a place. Every third sample of a batch is forced to show a class of the
    foreground (the authors' recipe); the others fall anywhere.
    """

    def __init__(
        self,
        cases: Sequence[PreparedCase],
        patch_size: Sequence[int],
        context_slices: int,
        augmentation: Augmentation | None,
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
        size = self.patch_size if self.augmentation is None else [int(np.ceil(MARGIN * n)) for n in self.patch_size]
        image, label = patch_of(case, slice_index, centre, size, self.context_slices)
        if self.augmentation is None:
            return torch.from_numpy(image), torch.from_numpy(label[0].astype(np.int64))
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
        return slice_index, patch_centre(aim, case.shape[1:], self.patch_size)


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
    """(slices, channels, H, W) -> (channels * context_slices, H, W) float32: the slice; with three context slices, the
    one before, itself and the one after. The first and last slice are their own neighbours.
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


def patch_centre(aim: Sequence[int], shape: Sequence[int], patch_size: Sequence[int]) -> list[int]:
    """The centre (row, column) nearest to `aim` whose patch lies within the slice; the middle where it is smaller."""
    return [
        side // 2 if side <= patch else int(np.clip(a, patch // 2, side - (patch - patch // 2)))
        for a, side, patch in zip(aim, shape, patch_size, strict=True)
    ]


def patch_of(
    case: PreparedCase, slice_index: int, centre: Sequence[int], size: Sequence[int], context_slices: int
) -> tuple[np.ndarray, np.ndarray]:
    """Image (channels * context_slices, *size) float32 and class indices (1, *size) of a case around `centre`."""
    image = slice_with_context(case.images(), slice_index, context_slices)
    return cut_patch(image, centre, size), cut_patch(case.labels()[slice_index][None], centre, size)
