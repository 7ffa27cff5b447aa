"""Fast mode: every second slice goes through the network; a slice between two gets the mean of their features.

The network's head is linear, so that this is the mean of their logits. Which slices are seen depends on the volume
alone (the even ones and the last), so that a region has the labels of the whole volume here too. With context slices
those that are skipped are still seen, as neighbours.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

import torch
from torch import Tensor

from DinoUNetCore.inference.labelling import SliceLabels
from DinoUNetCore.inference.plane_fusion import PlaneSums
from DinoUNetCore.inference.region import Part
from DinoUNetCore.inference.slices import NetworkSlices


class EverySecondSlice:
    """Those of a volume's slices that are seen, as `NetworkSlices` has all of them: the second one seen is number 1.

    seen: their numbers in the volume. volume_size, size: as those of all slices.
    """

    def __init__(self, slices: NetworkSlices):
        self._slices = slices
        self.volume_size, self.size = slices.volume_size, slices.size
        self.seen = [*range(0, len(slices) - 1, 2), len(slices) - 1]

    def __len__(self) -> int:
        return len(self.seen)

    def needed(self, part: slice) -> slice:
        """Which of them the slices `part` of the volume are made from."""
        return slice(bisect_right(self.seen, part.start) - 1, bisect_left(self.seen, part.stop - 1) + 1)

    def read(self, start: int, stop: int) -> Tensor:
        """(stop - start, channels, *size), as `NetworkSlices.read`."""
        numbers = self.seen[start:stop]
        if self._slices.context_slices == 1:
            return torch.cat([self._slices.read(number, number + 1) for number in numbers])
        everything = self._slices.read(numbers[0], numbers[-1] + 1)  # the neighbours are read in any case
        return everything[[number - numbers[0] for number in numbers]]


class SlicesBetween:
    """Takes the features of the slices seen, one after the other; hands on those of all slices of a part.

    output: takes them. seen: as `EverySecondSlice.seen`.
    """

    def __init__(self, output: SliceLabels | PlaneSums, seen: Sequence[int], part: Part):
        self._output, self._seen, self._part = output, seen, part.slices
        self._last: tuple[int, Tensor] | None = None  # its number in the volume, and its features

    def write(self, features: Tensor, place: int) -> None:
        """Hand on slice seen[place] from its features (F, h, w), and before it the one that was left out.

        Slices may come again from any place on: where memory ran out, a whole group does.
        """
        number = self._seen[place]
        if self._last is not None and self._last[0] == number - 2:
            self._hand_on((self._last[1] + features) / 2, number - 1)
        self._hand_on(features, number)
        self._last = number, features.clone()  # alone: what was given is a view of a whole group of slices

    def _hand_on(self, features: Tensor, index: int) -> None:
        if self._part.start <= index < self._part.stop:
            self._output.write(features, index)
