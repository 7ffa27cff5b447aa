"""From the features of slices to label values: the network's head and argmax, a band of rows at a time."""

from collections import deque
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from DinoUNetCore.inference.probabilities import ProbabilityWriter
from DinoUNetCore.inference.region import Part
from DinoUNetCore.inference.slices import part_bands

_ON_THEIR_WAY = 256
"""Bands of labels whose way from a GPU nobody waits for: meanwhile it is given its next work."""


class SliceLabels:
    """Fills the label values of a part of a volume, slice by slice. They are all there after `finish`.

    Args:
        head: features (B, F, h, w) -> logits (B, outputs, h, w).
        values: the label value of each class; for regions the background's and that of each region.
        size: (rows, columns) of whole slices.
        part: what of the volume is filled.
        labels: array of canonical slices to fill, of the part's size.
        probabilities: takes the probabilities of whole slices, or None.
        highest: whether to note the highest probability that each label has anywhere in the part.
        regions: whether the outputs are regions, which may overlap, instead of classes. Where their probability is
            above 1/2 they are written, later ones over earlier ones.
        fuse: takes the place of `head` for the last of several planes, see `PlaneFusion.fuse`.
    """

    def __init__(
        self,
        head: Callable[[Tensor], Tensor],
        device: torch.device,
        values: np.ndarray,
        size: Sequence[int],
        part: Part,
        labels: np.ndarray,
        probabilities: ProbabilityWriter | None = None,
        highest: bool = False,
        regions: bool = False,
        fuse: Callable[[Tensor, int, int], Tensor] | None = None,
    ):
        self._head, self._device, self._values = head, device, values
        self._size, self._part, self._labels = size, part, labels
        self._probabilities = probabilities
        self._regions = regions
        self._fuse = fuse
        self._output_values = values[1:] if regions else values
        self._arrivals: deque[_Arrival] = deque()
        self._highest = torch.zeros(len(self._output_values), device=device) if highest else None

    def write(self, features: Tensor, index: int) -> None:
        """Label slice `index` of the volume from its features (F, h, w) at the network's spacing."""
        labels = self._labels[index - self._part.slices.start]
        for first, band in part_bands(features, self._size, self._part, len(self._output_values), self._device):
            logits = (self._fuse(band, index, first) if self._fuse else self._head(band))[0]  # (outputs, rows, columns)
            winners = self._winners(logits).to(torch.uint8 if len(self._values) <= 256 else torch.int32)
            row = first - self._part.rows.start
            self._arrivals.append(_Arrival(winners, labels[row : row + band.shape[2]]))
            if self._probabilities is not None or self._highest is not None:
                self._note(logits.sigmoid() if self._regions else logits.softmax(dim=0), index, first)
            self._fill_in(_ON_THEIR_WAY)

    def finish(self) -> None:
        """Fill in what is still on its way from the device."""
        self._fill_in(0)

    def highest(self) -> dict[int, float]:
        """{label value: the highest probability seen}; empty if it was not asked for."""
        if self._highest is None:
            return {}
        return dict(zip(self._output_values.tolist(), self._highest.tolist(), strict=True))

    def _fill_in(self, most: int) -> None:
        """Fill in what has arrived, and wait where more than `most` bands are on their way."""
        while self._arrivals and (len(self._arrivals) > most or self._arrivals[0].is_there):
            arrival = self._arrivals.popleft()
            arrival.place[...] = self._values[arrival.winners()]

    def _winners(self, logits: Tensor) -> Tensor:
        """Which of the values each pixel gets."""
        if not self._regions:
            return logits.max(dim=0).indices
        places = torch.arange(1, len(logits) + 1, dtype=torch.int32, device=logits.device)
        return torch.where(logits > 0, places[:, None, None], 0).amax(dim=0)

    def _note(self, probabilities: Tensor, index: int, first_row: int) -> None:
        if self._highest is not None:
            torch.maximum(self._highest, probabilities.amax(dim=(1, 2)), out=self._highest)
        if self._probabilities is not None:
            labels = probabilities if self._regions else probabilities[1:]
            self._probabilities.write(index, first_row, labels.cpu().numpy())


class _Arrival:
    """Labels on their way from the device.

    winners: (rows, columns), which of the values each pixel gets. place: where these are to be filled in.
    """

    def __init__(self, winners: Tensor, place: np.ndarray):
        self.place = place
        self._event = torch.cuda.Event() if winners.is_cuda else None
        self._winners = winners.to("cpu", non_blocking=winners.is_cuda)
        if self._event is not None:
            self._event.record(torch.cuda.current_stream(winners.device))

    @property
    def is_there(self) -> bool:
        return self._event is None or self._event.query()

    def winners(self) -> np.ndarray:
        """Waits for them."""
        if self._event is not None:
            self._event.synchronize()
        return self._winners.numpy()
