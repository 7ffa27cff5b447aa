"""Fusing planes: every voxel gets the mean of the logits that its slices of several planes give it.

The planes are worked off one after the other. What the earlier ones say is kept on disk, on the image's own grid: per
voxel the sums of the logits, or of the features before the head where these are fewer. The head is linear, so that the
mean of the features gives the mean of the logits.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from DinoUNetCore.inference.region import Part
from DinoUNetCore.inference.slices import part_bands
from DinoUNetCore.inference.voxel_channels import VoxelChannels
from DinoUNetCore.volume.geometry import Slicing


class PlaneFusion:
    """The sums of several planes over a box of voxels.

    Args:
        head: features (B, F, h, w) -> logits (B, outputs, h, w), linear and 1x1.
        features, outputs: how many channels these have.
        planes: how many are fused.
        shape: of the box, KJI in storage order.
        precision: in which the network computes. Sums are kept in float32, or in float16 where it is a short one.
        name: of the volume, for messages.

    Used as a context: the temporary file is gone when it ends. UserError where the disk has no room for it.
    """

    def __init__(
        self,
        head: Callable[[Tensor], Tensor],
        features: int,
        outputs: int,
        planes: int,
        shape: Sequence[int],
        device: torch.device,
        precision: torch.dtype,
        name: str,
    ):
        self.outputs, self.device = outputs, device
        self._planes, self._collected = planes, 0
        unchanged = torch.nn.Identity()
        self._before, self._after = (unchanged, head) if features < outputs else (head, unchanged)
        dtype = np.float32 if precision == torch.float32 else np.float16
        self._sums = VoxelChannels(shape, min(features, outputs), dtype, name)

    def __enter__(self) -> "PlaneFusion":
        return self

    def __exit__(self, *exception) -> None:
        self._sums.__exit__(*exception)

    def collect(self, slicing: Slicing, part: Part, size: Sequence[int]) -> "PlaneSums":
        """Takes the features of one of the planes, but the last. size: (rows, columns) of whole slices."""
        self._collected += 1
        return PlaneSums(self, slicing, part, size, first=self._collected == 1)

    def fuse(self, slicing: Slicing, part: Part) -> Callable[[Tensor, int, int], Tensor]:
        """For the last plane: (features (1, F, rows, columns), slice, first row) -> the mean of all planes' logits."""

        def logits(band: Tensor, index: int, first: int) -> Tensor:
            total = self.stored(slicing, part, index, first, band.shape[2]) + self._before(band)
            return self._after(total / self._planes)

        return logits

    def stored(self, slicing: Slicing, part: Part, index: int, first: int, rows: int) -> Tensor:
        """(1, channels, rows, columns) float32: the sums so far in `rows` rows of the volume's slice `index`."""
        sums = self._sums.read(slicing, *_place(part, index, first, rows))
        return torch.from_numpy(sums).to(self.device).float().permute(2, 0, 1)[None]

    def add(self, band: Tensor, slicing: Slicing, part: Part, index: int, first: int, anew: bool) -> None:
        """Add the features (1, F, rows, columns) of a plane. anew: nothing is stored yet."""
        channels, rows = self._before(band), band.shape[2]
        if not anew:
            channels = channels + self.stored(slicing, part, index, first, rows)
        values = channels[0].permute(1, 2, 0).float().cpu().numpy()
        self._sums.write(slicing, *_place(part, index, first, rows), values)


class PlaneSums:
    """Adds the slices of one plane to the sums of a fusion."""

    def __init__(self, fusion: PlaneFusion, slicing: Slicing, part: Part, size: Sequence[int], first: bool):
        self._fusion, self._slicing, self._part, self._size, self._first = fusion, slicing, part, size, first
        self._added: set[tuple[int, int]] = set()  # slice and first row

    def write(self, features: Tensor, index: int) -> None:
        """Add slice `index` of the volume from its features (F, h, w) at the network's spacing. What was added before
        is left out: a slice comes again after memory ran out in the middle of it.
        """
        fusion = self._fusion
        for row, band in part_bands(features, self._size, self._part, fusion.outputs, fusion.device):
            if (index, row) not in self._added:
                fusion.add(band, self._slicing, self._part, index, row, self._first)
                self._added.add((index, row))


def _place(part: Part, index: int, first: int, rows: int) -> tuple[int, slice]:
    """Where rows of a slice of the volume lie in the box: its slice and rows."""
    start = first - part.rows.start
    return index - part.slices.start, slice(start, start + rows)
