"""What a frozen backbone made of every training sample, kept on the disk for recipes that repeat their samples.

A frozen backbone gives the same features for the same patch. Where a recipe draws the samples of its first epochs only,
augmented in every way, and then goes over them again and again, the backbone runs for those first epochs and is read
from a file in all later ones.
"""

import math
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from DinoUNetCore.files import reserve
from DinoUNetCore.network.backbone import PATCH, Backbone
from DinoUNetCore.network.dino_unet import DinoUNet
from DinoUNetCore.training.processes import ALONE, Processes

LEFT_FREE = 2 << 30  # bytes that are left on the disk


class FeatureCache:
    """Features of the taps by sample number; in the file they have the dtype in which the backbone gives them.

    Args:
        path: of the file, which is made anew.
        samples: how many different samples there are.
        patch_size: (rows, columns), multiples of 16.
        dtype: in which the backbone computes.
    """

    def __init__(self, path: Path, samples: int, backbone: Backbone, patch_size: Sequence[int], dtype: torch.dtype):
        self.backbone = backbone
        shape = _shape(samples, backbone, patch_size)
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "wb") as file:
            reserve(file, math.prod(shape) * dtype.itemsize)
        values = torch.from_file(str(path), shared=True, size=math.prod(shape), dtype=dtype)
        self._features = values.view(shape)
        self._known = torch.zeros(samples, dtype=torch.bool)

    @torch.compiler.disable  # files
    def taps(self, image: Tensor, samples: Tensor) -> list[Tensor]:
        """image: (B, 3, H, W) as `DinoUNet.prepare` gives it; samples: (B,) their numbers, on the CPU
        -> what the backbone makes of them, one (B, dim, H/16, W/16) per tap. Call it under the usual autocast.
        """
        new = ~self._known[samples]
        if new.any():
            taps = self.backbone(image[new.to(image.device)])
            self._features[samples[new]] = torch.stack(taps, dim=1).to("cpu", self._features.dtype)
            self._known[samples[new]] = True
        features = self._features[samples].to(image.device, non_blocking=True)
        return list(features.unbind(dim=1))


def stay_the_same(network: DinoUNet) -> bool:
    """Whether training leaves what the backbone makes of an image as it is; a projection of many channels learns."""
    return not network.backbone.trainable and network.channel_projection is None


def make_feature_cache(
    folder: Path,
    samples: int,
    backbone: Backbone,
    patch_size: Sequence[int],
    dtype: torch.dtype,
    say: Callable[[str], None],
    processes: Processes = ALONE,
) -> FeatureCache | None:
    """A cache for this process's own samples, a file in `folder`; None in all processes if the disk lacks the room."""
    needed = math.prod(_shape(samples, backbone, patch_size)) * dtype.itemsize
    in_all = sum(processes.gather(needed))

    def fits() -> bool:
        folder.mkdir(parents=True, exist_ok=True)
        return in_all <= shutil.disk_usage(folder).free - LEFT_FREE

    if not processes.first_decides(fits):
        say(
            f"warning: the backbone's features take {in_all / 1e9:.1f} GB, more than {folder} has free; they are "
            "computed again in every epoch, which is slower."
        )
        return None
    say(f"The backbone's features are kept in {in_all / 1e9:.2g} GB of {folder} until the training ends.")
    return FeatureCache(folder / f"{processes.rank}.bin", samples, backbone, patch_size, dtype)


def _shape(samples: int, backbone: Backbone, patch_size: Sequence[int]) -> tuple[int, ...]:
    rows, columns = (side // PATCH for side in patch_size)
    return samples, len(backbone.taps), backbone.config.dim, rows, columns
