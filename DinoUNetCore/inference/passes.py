"""Slices on their way through the network: in groups that fill it, of a size that depends on the volume alone.

How a network rounds depends on how many patches it is given at once, and on a patch's place among them. So every pass
takes the same number, filled up where there are fewer, and each patch of a volume has one place. Then a slice has the
same features, to the bit, whichever slices it comes with: in a region, in a share of the volume, after memory ran out.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor

from DinoUNetCore.inference.blending import Window, blended_features
from DinoUNetCore.inference.lookahead import one_ahead
from DinoUNetCore.inference.tiling import mirrored_features, tiles_of
from DinoUNetCore.memory import OutOfMemory, exhausted, give_back, is_out_of_memory, not_enough

_PIXELS_AT_ONCE = {"cuda": 16 * 512 * 512, "mps": 4 * 512 * 512, "cpu": 512 * 512}
"""That go through the network at once, unless a batch size is asked for."""


class Slices(Protocol):
    """Slices as a network takes them: (rows, columns) of each, how many there are, and some of them."""

    size: tuple[int, int]

    def __len__(self) -> int: ...

    def read(self, start: int, stop: int) -> Tensor: ...


class Passes:
    """Sends slices through a network.

    Args:
        features: the network's, (B, C, *patch) -> (B, F, *patch).
        patch: (rows, columns) that the network takes.
        mirror_axes: over which mirror images are averaged, see `mirrored_features`.
        batch: patches at once at most; None: as many as suit the device. It is halved, for good, when memory runs out.
        read_ahead: whether slices are read while the network works; None: where this is no work for the same cores.
    """

    def __init__(
        self,
        features: Callable[[Tensor], Tensor],
        patch: Sequence[int],
        mirror_axes: Sequence[int],
        device: torch.device,
        batch: int | None = None,
        read_ahead: bool | None = None,
    ):
        self._network, self._patch, self._mirror_axes, self._device = features, tuple(patch), mirror_axes, device
        self._most = batch or max(1, _PIXELS_AT_ONCE[device.type] // math.prod(patch))
        self._read_ahead = device.type != "cpu" if read_ahead is None else read_ahead

    def run(
        self, slices: Slices, wanted: slice, window: Window, write: Callable[[Tensor, int], None], name: str
    ) -> Iterator[int]:
        """Call write(features (F, h, w) float32, number) for each of the wanted slices, in their order.

        window: what of the features is of use. name: of the volume, for messages. Yields how many slices are done.
        After memory ran out some slices may be written again. Raises OutOfMemory if there is none for one patch.
        """
        tiles = len(tiles_of(slices.size, self._patch))
        done = wanted.start
        while done < wanted.stop:
            together, tiles_at_once = patches_at_once(self._most, len(slices), tiles)
            images = features = None
            try:
                with one_ahead(_groups(slices, done, wanted.stop, together), self._read_ahead) as groups:
                    for numbers, images in groups:
                        features = self._features(images, numbers.start % together, together, tiles_at_once, window)
                        for number, of_slice in zip(numbers, features, strict=True):
                            write(of_slice, number)
                        images = features = of_slice = None  # before the next ones need the memory
                        done = numbers.stop
                        yield done - wanted.start
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                where = exhausted(error, self._device)
            if done < wanted.stop:  # outside the except block, which holds on to what was allocated
                if together * tiles_at_once == 1:
                    raise OutOfMemory(not_enough(name, where), where)
                images = features = of_slice = None
                self._most = together * tiles_at_once // 2
                give_back(self._device)

    def _features(self, slices: Tensor, place: int, together: int, tiles_at_once: int, window: Window) -> Tensor:
        """(N, C, h, w) -> (N, F, h, w) float32, of use in the window.

        The slices take the places `place` to place + N - 1 of `together`; those before and after are copies.
        """
        count = len(slices)
        if count < together:
            before, after = slices[:1], slices[-1:]
            slices = torch.cat([*[before] * place, slices, *[after] * (together - place - count)])
        features = blended_features(
            lambda tiles: mirrored_features(self._network, tiles, self._mirror_axes),
            slices,
            self._patch,
            tiles_at_once,
            window,
        )
        return features[place : place + count]


def patches_at_once(most: int, slices: int, tiles: int) -> tuple[int, int]:
    """How many slices of a volume, and how many tiles of each, go through the network in each pass.

    Their product is at most `most`: whole slices where they fit, else a part of one slice's tiles; so many that the
    passes are evenly full. slices: of the volume. tiles: of each.

    >>> patches_at_once(most=16, slices=7, tiles=3)  # twice four slices instead of five and two
    (4, 3)
    >>> patches_at_once(most=4, slices=100, tiles=9)
    (1, 3)
    """
    if tiles > most:
        return 1, _even(tiles, most)
    return _even(slices, most // tiles), tiles


def _even(count: int, most: int) -> int:
    """The size of the fewest groups of at most `most` that hold `count`."""
    return math.ceil(count / math.ceil(count / most))


def _groups(slices: Slices, start: int, stop: int, together: int) -> Iterator[tuple[range, Tensor]]:
    """The slices by groups that begin at multiples of `together`."""
    while start < stop:
        numbers = range(start, min(stop, (start // together + 1) * together))
        yield numbers, slices.read(numbers.start, numbers.stop)
        start = numbers.stop
