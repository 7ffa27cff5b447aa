"""Segmenter: a volume in, a label map on its grid out. Slices are streamed, so memory stays near the volume's own.

volume -> canonical slices -> normalised, at the network's spacing -> tiles -> network's features
       -> blended, at the native size -> head and argmax, a band of rows at a time -> label values
"""

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Literal

import numpy as np
import SimpleITK as sitk
import torch
from torch import Tensor

from DinoUNetCore.device import choose_device, choose_precision
from DinoUNetCore.errors import UserError
from DinoUNetCore.inference.plausibility import cautions
from DinoUNetCore.inference.postprocessing import keep_largest_components
from DinoUNetCore.inference.probabilities import ProbabilityFiles, ProbabilityWriter
from DinoUNetCore.inference.slices import NetworkSlices, bands_at_size
from DinoUNetCore.inference.tiling import blended_features, mirrored_features, tiles_of
from DinoUNetCore.network.dino_unet import DinoUNet
from DinoUNetCore.volume.checks import check_image
from DinoUNetCore.volume.geometry import Slicing
from DinoUNetCore.volume.volume import Volume
from DinoUNetCore.weights.bundle import ModelBundle

Progress = Callable[[int, int], None]

# Pixels that go through the network at once with batch_size "auto".
_PIXELS_AT_ONCE = {"cuda": 16 * 512 * 512, "mps": 4 * 512 * 512, "cpu": 512 * 512}
_VALUES_IN_A_BAND = 1 << 22  # features and logits that exist at once at the native size (16 MB)
_AXES = {"rows": 2, "columns": 3}


class Segmenter:
    """Segments images with the network of a bundle.

    Args:
        bundle: the model.
        device: "auto" (CUDA, then MPS, then CPU), "cpu", "cuda", "cuda:N" or "mps".
        batch_size: patches that go through the network at once; "auto" fits it to the device. It is halved when a GPU
            runs out of memory, and changes results only by rounding.
        mirror: average over mirror images, along the axes on which the training mirrored: slower, often better.
        keep_largest: keep only the largest connected piece of each label.
        threads: CPU threads, for the whole process; None leaves them as they are.
        precision: "float32", "bfloat16", "float16", or "auto": a short one on CUDA, float32 elsewhere.
        network: a network to use in place of the bundle's stored one (during training).

    Raises UserError for an unknown device and for a bundle whose network cannot be built.
    """

    def __init__(
        self,
        bundle: ModelBundle,
        device: str = "auto",
        *,
        batch_size: int | Literal["auto"] = "auto",
        mirror: bool = False,
        keep_largest: bool = False,
        threads: int | None = None,
        precision: str = "auto",
        network: DinoUNet | None = None,
    ):
        if batch_size != "auto" and (not isinstance(batch_size, int) or batch_size < 1):
            raise UserError(f"the batch size is {batch_size!r}; give a whole number above 0, or 'auto'.")
        self.device = choose_device(device)
        self.precision = choose_precision(precision, self.device)
        if threads is not None:
            torch.set_num_threads(threads)
        self.bundle = bundle
        self.network = bundle.build_network(self.device) if network is None else network.to(self.device)
        self.mirror_axes = [_AXES[axis] for axis in bundle.mirror] if mirror else []
        self.keep_largest = keep_largest
        self._batch_size = batch_size
        dtype = next(d for d in (np.uint8, np.uint16, np.int32) if max(bundle.label_values) <= np.iinfo(d).max)
        self._values = np.array(bundle.label_values, dtype=dtype)  # by the network's class index

    def segment(
        self,
        image: sitk.Image | Sequence[sitk.Image] | Volume,
        progress: Progress | None = None,
        probabilities: ProbabilityFiles | None = None,
    ) -> sitk.Image:
        """The label map of an image, on exactly its grid (2D stays 2D): uint8, or uint16 or int32 for large values.

        image: 2D or 3D with one channel or several as components; or one image per channel; or a volume.
        progress: called as progress(slices done, slices in all); what it raises ends the run.
        probabilities: also write the labels' probabilities there.

        Raises UserError for images that cannot be segmented faithfully or have another number of channels.
        """
        volume = self.volume_of(image)
        slicing = Slicing.of(volume.grid, self.bundle.plane)
        labels = np.empty(volume.grid.size[::-1], dtype=self._values.dtype)
        canonical = slicing.cut(labels)
        training = self.network.training
        self.network.eval()
        try:
            with (
                torch.inference_mode(),
                nullcontext() if probabilities is None else probabilities.opened(volume.grid, slicing) as writer,
            ):
                self._segment_slices(volume, slicing, canonical, progress, writer)
        finally:
            self.network.train(training)
        if self.keep_largest:
            keep_largest_components(canonical)
        return volume.grid.to_image(labels)

    def cautions(self, volume: Volume) -> list[str]:
        """Sentences on how the volume differs from what the model was trained on; usually none."""
        return cautions(self.bundle, volume)

    def volume_of(self, image: sitk.Image | Sequence[sitk.Image] | Volume) -> Volume:
        """The image as a volume that the model can take; UserError says why it cannot."""
        volume = image
        if not isinstance(image, Volume):
            images = [image] if isinstance(image, sitk.Image) else list(image)
            for number, channel in enumerate(images, start=1):
                check_image(channel, "the image" if len(images) == 1 else f"image {number}")
            if not images:
                raise UserError("there is no image to segment; give one.")
            volume = Volume.from_images(images, "the image")
        names = self.bundle.channel_names
        if len(volume.channels) != len(names):
            raise UserError(
                f"{volume.name} has {_channels(len(volume.channels))}, but the model {self.bundle.name} takes "
                f"{len(names)} ({', '.join(names)}); give it what it was trained on."
            )
        return volume

    def _segment_slices(
        self,
        volume: Volume,
        slicing: Slicing,
        labels: np.ndarray,
        progress: Progress | None,
        writer: ProbabilityWriter | None,
    ) -> None:
        """Fill `labels`, an array of canonical slices."""
        bundle = self.bundle
        slices = NetworkSlices(
            volume, slicing, bundle.normalization, bundle.spacing, bundle.context_slices, self.device
        )
        tiles = len(tiles_of(slices.size, bundle.patch_size))
        batch = self._batch_size if self._batch_size != "auto" else self._automatic_batch()
        done, total = 0, len(slices)
        if progress:
            progress(done, total)
        while done < total:
            stop = min(total, done + max(1, batch // tiles))
            try:
                features = self._features(slices.read(done, stop), tiles_at_once=max(1, batch // (stop - done)))
                for index in range(done, stop):
                    self._write_slice(features[index - done], index, labels[index], writer)
                finished = True
            except RuntimeError as error:
                if not _is_out_of_memory(error):
                    raise
                finished, features = False, None
            if finished:
                done = stop
                if progress:
                    progress(done, total)
            elif batch == 1:
                raise UserError(
                    f"{volume.name} needs more memory than {self.device} has free; close other programs or use "
                    "--device cpu."
                )
            else:  # outside the except block, which holds on to what was allocated
                batch = min(batch, max(1, (stop - done) * tiles)) // 2 or 1
                if self.device.type == "cuda":
                    torch.cuda.empty_cache()

    def _automatic_batch(self) -> int:
        return max(1, _PIXELS_AT_ONCE[self.device.type] // math.prod(self.bundle.patch_size))

    def _features(self, slices: Tensor, tiles_at_once: int) -> Tensor:
        """(N, C, h, w) -> (N, F, h, w) float32."""
        return blended_features(
            lambda tiles: mirrored_features(self._network_features, tiles, self.mirror_axes),
            slices,
            self.bundle.patch_size,
            tiles_at_once,
        )

    def _network_features(self, tiles: Tensor) -> Tensor:
        if self.precision == torch.float32:
            return self.network.features(tiles)
        with torch.autocast(self.device.type, self.precision):
            return self.network.features(tiles)

    def _write_slice(self, features: Tensor, index: int, labels: np.ndarray, writer: ProbabilityWriter | None) -> None:
        """From the features (F, h, w) of slice `index` to its labels (rows, columns)."""
        height, width = labels.shape
        classes = len(self._values)
        rows = max(1, _VALUES_IN_A_BAND // ((len(features) + classes) * width))
        if self.device.type == "mps":  # it does not have every kind of resampling
            features = features.cpu()
        for first, band in bands_at_size(features, (height, width), rows):
            logits = self.network.head(band[None].to(self.device))[0]  # (classes, rows, columns)
            winners = logits.max(dim=0).indices.to(torch.uint8 if classes <= 256 else torch.int32)
            labels[first : first + band.shape[1]] = self._values[winners.cpu().numpy()]
            if writer is not None:
                writer.write(index, first, logits.softmax(dim=0).cpu().numpy())


def _channels(count: int) -> str:
    return "1 channel" if count == 1 else f"{count} channels"


def _is_out_of_memory(error: RuntimeError) -> bool:
    # Only CUDA has a type of its own for it; MPS and the CPU say it in words.
    return isinstance(error, torch.cuda.OutOfMemoryError) or any(
        words in str(error) for words in ("out of memory", "not enough memory", "can't allocate memory", "ALLOC_FAILED")
    )
