"""Samples: which slice, where the patch lies, how it is augmented; all decided by (seed, epoch, sample)."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from DinoUNetCore.dataset.augmentation import Augmentation, Numbers, Windows
from DinoUNetCore.dataset.preprocessing import PreparedCase


class TrainingSlices(Dataset):
    """Map-style data set of patches, or with an augmentation of windows around them and the numbers drawn for them.

    An index is (epoch, sample number in it). Each sample draws a case, then a slice, then a place. Every third sample
    of a batch is forced to show a class of the foreground (the authors' recipe); the others fall anywhere,
    but not on slices that are ignored as a whole.
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

    def __getitem__(self, index: tuple[int, int]) -> tuple[Tensor, Tensor] | tuple[Tensor, Tensor, Numbers]:
        """(channels, rows, columns) float32 and classes (rows, columns) int64; for an augmentation as they are stored,
        float16 and integers: fewer bytes go to the device.
        """
        epoch, sample = index
        random = np.random.default_rng((self.seed, epoch, sample))
        case = self.cases[random.integers(len(self.cases))]
        forced = sample % 3 == 2
        slice_index, centre = self._choose_place(case, forced, random)
        if self.augmentation is None:
            image, label = patch_of(case, slice_index, centre, self.patch_size, self.context_slices)
            return torch.from_numpy(image), torch.from_numpy(label[0].astype(np.int64))
        size = self.augmentation.window_size
        image, label = stored_patch(case, slice_index, centre, size, self.context_slices)
        label = label.astype(np.int32, copy=False) if label.dtype == np.uint16 else label  # torch hardly knows uint16
        numbers = self.augmentation.draw(random, len(image) // self.context_slices, self.context_slices)
        return torch.from_numpy(image), torch.from_numpy(label[0]), numbers

    def _choose_place(self, case: PreparedCase, forced: bool, random: np.random.Generator) -> tuple[int, list[int]]:
        present = [c for c, slices in case.slices_with.items() if c > 0 and slices]
        if forced and present:
            chosen = present[random.integers(len(present))]
            slice_index = int(random.choice(case.slices_with[chosen]))
            pixels = np.argwhere(case.labels()[slice_index] == chosen)
            aim = pixels[random.integers(len(pixels))]
        else:
            slice_index = case.judged_slices[random.integers(len(case.judged_slices))]
            aim = [int(random.integers(side)) for side in case.shape[1:]]
        return slice_index, patch_centre(aim, case.shape[1:], self.patch_size)


def collate_windows(samples: Sequence[tuple[Tensor, Tensor, Numbers]]) -> Windows:
    """The samples of a batch, for a loader of `TrainingSlices` with an augmentation."""
    images, labels, numbers = zip(*samples, strict=True)
    return Windows(torch.stack(images), torch.stack(labels), list(numbers))


class EpochSampler(Sampler):
    """Hands out the indices (epoch, sample) of an epoch, batch by batch: of each of the batches those at `places`, for
    the others are taken elsewhere. Set `epoch` before each pass, and `first` to begin with a later batch.
    """

    def __init__(self, batches: int, batch_size: int, places: Sequence[int] | None = None):
        self.batches, self.batch_size = batches, batch_size
        self.places = list(range(batch_size) if places is None else places)
        self.epoch = 0
        self.first = 0

    def __len__(self) -> int:
        return (self.batches - self.first) * len(self.places)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        for batch in range(self.first, self.batches):
            for place in self.places:
                yield self.epoch, batch * self.batch_size + place


def slice_with_context(images: np.ndarray, index: int, context_slices: int) -> np.ndarray:
    """(slices, channels, H, W) -> (channels * context_slices, H, W): the slice; with three context slices, the one
    before, itself and the one after. The first and last slice are their own neighbours.
    """
    if context_slices == 1:
        return np.asarray(images[index])
    neighbours = np.clip([index - 1, index, index + 1], 0, len(images) - 1)
    return np.concatenate([images[i] for i in neighbours])


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
    image, label = stored_patch(case, slice_index, centre, size, context_slices)
    return image.astype(np.float32), label


def stored_patch(
    case: PreparedCase, slice_index: int, centre: Sequence[int], size: Sequence[int], context_slices: int
) -> tuple[np.ndarray, np.ndarray]:
    """`patch_of` in the types in which the case is stored."""
    image = slice_with_context(case.images(), slice_index, context_slices)
    return cut_patch(image, centre, size), cut_patch(np.asarray(case.labels()[slice_index])[None], centre, size)
