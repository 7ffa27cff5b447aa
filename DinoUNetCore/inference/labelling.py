"""From the features of slices to label values: the network's head and argmax, a band of rows at a time."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from DinoUNetCore.inference.probabilities import ProbabilityWriter
from DinoUNetCore.inference.region import Part
from DinoUNetCore.inference.slices import bands_at_size

_VALUES_IN_A_BAND = 1 << 22  # features and logits that exist at once at the native size (16 MB)


class SliceLabels:
    """Fills the label values of a part of a volume, slice by slice.

    Args:
        head: features (B, F, h, w) -> logits (B, classes, h, w).
        values: the label value of each class.
        size: (rows, columns) of whole slices.
        part: what of the volume is filled.
        labels: array of canonical slices to fill, of the part's size.
        probabilities: takes the probabilities of whole slices, or None.
        highest: whether to note the highest probability that each class has anywhere in the part.
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
    ):
        self._head, self._device, self._values = head, device, values
        self._size, self._part, self._labels = size, part, labels
        self._probabilities = probabilities
        self._highest = torch.zeros(len(values), device=device) if highest else None

    def write(self, features: Tensor, index: int) -> None:
        """Label slice `index` of the volume from its features (F, h, w) at the network's spacing."""
        height, width = self._size
        classes = len(self._values)
        labels = self._labels[index - self._part.slices.start]
        rows = max(1, _VALUES_IN_A_BAND // ((len(features) + classes) * width))
        if self._device.type == "mps":  # it does not have every kind of resampling
            features = features.cpu()
        for first, band in bands_at_size(features, (height, width), rows, self._part.rows):
            band = band[None, :, :, self._part.columns].to(self._device)
            logits = self._head(band)[0]  # (classes, rows, columns)
            winners = logits.max(dim=0).indices.to(torch.uint8 if classes <= 256 else torch.int32)
            row = first - self._part.rows.start
            labels[row : row + band.shape[2]] = self._values[winners.cpu().numpy()]
            if self._probabilities is not None or self._highest is not None:
                self._note(logits.softmax(dim=0), index, first)

    def highest(self) -> dict[int, float]:
        """{label value: the highest probability seen}; empty if it was not asked for."""
        if self._highest is None:
            return {}
        return dict(zip(self._values.tolist(), self._highest.tolist(), strict=True))

    def _note(self, probabilities: Tensor, index: int, first_row: int) -> None:
        if self._highest is not None:
            torch.maximum(self._highest, probabilities.amax(dim=(1, 2)), out=self._highest)
        if self._probabilities is not None:
            self._probabilities.write(index, first_row, probabilities.cpu().numpy())
