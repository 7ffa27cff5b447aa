"""Segmenter: a volume in, a label map on its grid out. Slices are streamed, so memory stays near the volume's own.

volume -> canonical slices -> normalised, at the network's spacing -> tiles -> network's features
       -> blended, at the native size -> head and argmax, a band of rows at a time -> label values

With several planes this is done once for each, and the mean of their logits decides (see `plane_fusion`).
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from functools import partial
from typing import Literal

import numpy as np
import SimpleITK as sitk
import torch
from torch import Tensor

from DinoUNetCore.device import choose_device, choose_precision, matrix_dtype
from DinoUNetCore.errors import UserError
from DinoUNetCore.inference.every_second import EverySecondSlice, SlicesBetween
from DinoUNetCore.inference.interruption import watched
from DinoUNetCore.inference.labelling import SliceLabels
from DinoUNetCore.inference.passes import Passes
from DinoUNetCore.inference.plane_fusion import PlaneFusion, PlaneSums
from DinoUNetCore.inference.plausibility import cautions
from DinoUNetCore.inference.postprocessing import keep_largest_components
from DinoUNetCore.inference.probabilities import ProbabilityFiles, ProbabilityWriter
from DinoUNetCore.inference.region import Part, Region, region_shape, region_slices
from DinoUNetCore.inference.rewriting import for_inference
from DinoUNetCore.inference.slices import NetworkSlices
from DinoUNetCore.memory import limit_memory, told_when_out_of_memory
from DinoUNetCore.network.dino_unet import DinoUNet
from DinoUNetCore.volume.checks import check_image
from DinoUNetCore.volume.geometry import Slicing
from DinoUNetCore.volume.volume import Volume
from DinoUNetCore.weights.bundle import ModelBundle

Progress = Callable[[int, int], None]

_AXES = {"rows": 2, "columns": 3}


class Segmenter:
    """Segments images with the network of a bundle.

    Args:
        bundle: the model.
        device: "auto" (CUDA, then MPS, then CPU), "cpu", "cuda", "cuda:N" or "mps".
        batch_size: patches that go through the network at once; "auto" fits it to the device. It is halved when a GPU
            runs out of memory, and changes results only by rounding.
        mirror: average over mirror images, along the axes on which the training mirrored: slower, often better.
        fast: only every second slice goes through the network, see `every_second`: half the time, a little less exact.
        planes: the planes whose logits are averaged, of those that the model was trained on; None: all of these, in
            fast mode the first one.
        keep_largest: keep only the largest connected piece of each label; None: of those that the bundle names.
        threads: CPU threads, for the whole process; None leaves them as they are.
        precision: "float32", "bfloat16", "float16", or "auto": a short one on CUDA, float32 elsewhere.
        max_memory: GB of the GPU that the process may take at most; without effect on the CPU. More is never needed:
            the batch is halved until it fits.
        network: a network on this device, to use in place of the bundle's stored one: while it is trained, or one that
            `optimize` has made, which computes in its own precision.
        progress: progress(done, total) in bytes while a backbone is downloaded.
        say: takes a sentence if the backbone is too large for the device, and what that costs.

    Raises UserError for an unknown device, for planes that the model does not know, and for a bundle whose network
    cannot be built; OutOfMemory where the device cannot hold it.
    """

    def __init__(
        self,
        bundle: ModelBundle,
        device: str = "auto",
        *,
        batch_size: int | Literal["auto"] = "auto",
        mirror: bool = False,
        fast: bool = False,
        planes: Sequence[str] | None = None,
        keep_largest: bool | None = None,
        threads: int | None = None,
        precision: str = "auto",
        max_memory: float | None = None,
        network: DinoUNet | None = None,
        progress: Progress | None = None,
        say: Callable[[str], None] | None = None,
    ):
        if batch_size != "auto" and (not isinstance(batch_size, int) or batch_size < 1):
            raise UserError(f"the batch size is {batch_size!r}; give a whole number above 0, or 'auto'.")
        self.fast = fast
        self.planes = _chosen_planes(bundle, bundle.planes[:1] if fast and planes is None else planes)
        self.device = choose_device(device)
        self.precision = choose_precision(precision, self.device)
        if threads is not None:
            torch.set_num_threads(threads)
        self.bundle = bundle
        if max_memory is not None:
            limit_memory(self.device, max_memory, say)
        if network is None:
            dtype = matrix_dtype(precision, self.device)
            with told_when_out_of_memory(bundle.name, self.device):
                network = bundle.build_network(self.device, dtype, progress=progress, say=say)
                network = for_inference(network, self.device, say)
        if network.dtype != torch.float32 or not network.wants_autocast:
            self.precision = network.dtype
        self.network = network
        self.mirror_axes = [_AXES[axis] for axis in bundle.mirror] if mirror else []
        if keep_largest and bundle.regions is not None:
            raise UserError(
                f"the structures of {bundle.name} overlap, and a label map does not tell the pieces of such; leave out "
                "--keep-largest."
            )
        asked = bundle.label_values[1:] if keep_largest else []
        self.keep_largest: list[int] = bundle.keep_largest if keep_largest is None else asked  # label values
        batch = None if batch_size == "auto" else batch_size
        features = partial(_features_of, network, self.precision, self.device)
        self._passes = Passes(features, bundle.patch_size, self.mirror_axes, self.device, batch)
        dtype = next(d for d in (np.uint8, np.uint16, np.int32) if max(bundle.label_values) <= np.iinfo(d).max)
        self._values = np.array(bundle.label_values, dtype=dtype)  # the background's first

    def segment(
        self,
        image: sitk.Image | Sequence[sitk.Image] | Volume,
        progress: Progress | None = None,
        probabilities: ProbabilityFiles | None = None,
        region: Region | None = None,
    ) -> sitk.Image:
        """The label map of an image, on exactly its grid (2D stays 2D): uint8, or uint16 or int32 for large values.

        image: 2D or 3D with one channel or several as components; or one image per channel; or a volume.
        progress, probabilities, region: see `label`; outside the region all is background.

        Raises UserError for images that cannot be segmented faithfully or have another number of channels.
        """
        volume = self.volume_of(image)
        labels = self.label(volume, region, progress=progress, probabilities=probabilities)
        with told_when_out_of_memory(volume.name):
            if region is not None:
                inside, labels = labels, np.zeros(volume.grid.size[::-1], dtype=labels.dtype)
                labels[region_slices(region)] = inside
            return volume.grid.to_image(labels)

    def label(
        self,
        volume: Volume,
        region: Region | None = None,
        *,
        progress: Progress | None = None,
        probabilities: ProbabilityFiles | None = None,
        highest: dict[int, float] | None = None,
        check: Callable[[], None] | None = None,
    ) -> np.ndarray:
        """The label values of a volume, or of a box of its voxels: an array KJI of the box's size.

        region: the box; slices outside are not computed, of the others only the tiles that reach into it. Inside, the
        result is that of the whole volume: neighbouring slices and intensities are seen beyond the region. But where
        only the largest pieces are kept, those are the largest within it.
        progress: called as progress(slices done, slices in all), of all planes; what it raises ends the run.
        probabilities: also write the labels' probabilities there; not together with a region.
        highest: takes the highest probability that each label value has anywhere.
        check: called before every module of the network; what it raises ends the run.

        Raises UserError for a region outside the volume and where the disk has no room to fuse planes, OutOfMemory if
        the device cannot hold one patch.
        """
        if region is not None and probabilities is not None:
            raise ValueError("probabilities are written of whole volumes only")
        with told_when_out_of_memory(volume.name, self.device):
            slicings = Slicing.in_planes(volume.grid, self.planes, self.bundle.unit)
            parts = [Part.of(region, volume.grid, slicing) for slicing in slicings]
            labels = np.empty(region_shape(region, volume.grid), dtype=self._values.dtype)
            training = self.network.training
            self.network.eval()
            try:
                with (
                    torch.inference_mode(),
                    watched(self.network, check),
                    probabilities.opened(volume.grid, slicings[-1]) if probabilities else nullcontext() as writer,
                    self._fusion(len(slicings), labels.shape, volume.name) as fusion,
                ):
                    self._fill(labels, volume, slicings, parts, progress, writer, highest, fusion)
            finally:
                self.network.train(training)
            if self.keep_largest:
                keep_largest_components(slicings[0].cut(labels), self.keep_largest)
            return labels

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

    def _fill(
        self,
        labels: np.ndarray,
        volume: Volume,
        slicings: Sequence[Slicing],
        parts: Sequence[Part],
        progress: Progress | None,
        writer: ProbabilityWriter | None,
        highest: dict[int, float] | None,
        fusion: PlaneFusion | None,
    ) -> None:
        """Fill in the label values of the parts, which are one box as cut by each slicing."""
        cut = [self._slices(volume, slicing) for slicing in slicings]  # what cannot be done is told first
        needed = [slices.needed(part.slices) for slices, part in zip(cut, parts, strict=True)]
        total = sum(some.stop - some.start for some in needed)
        done = 0
        for slicing, part, slices in zip(slicings[:-1], parts, cut, strict=False):
            sums = fusion.collect(slicing, part, slices.volume_size[1:])
            done = self._label_slices(slices, part, sums, done, total, progress, volume.name)
        output = SliceLabels(
            self.network.head,
            self.device,
            self._values,
            cut[-1].volume_size[1:],
            parts[-1],
            slicings[-1].cut(labels),
            writer,
            highest is not None,
            self.bundle.regions is not None,
            fusion and fusion.fuse(slicings[-1], parts[-1]),
        )
        self._label_slices(cut[-1], parts[-1], output, done, total, progress, volume.name)
        output.finish()
        if highest is not None:
            highest.update(output.highest())

    def _slices(self, volume: Volume, slicing: Slicing) -> NetworkSlices | EverySecondSlice:
        bundle = self.bundle
        slices = NetworkSlices(
            volume, slicing, bundle.normalization, bundle.spacing, bundle.context_slices, self.device
        )
        return EverySecondSlice(slices) if self.fast else slices

    def _fusion(self, planes: int, shape: Sequence[int], name: str) -> AbstractContextManager[PlaneFusion | None]:
        if planes == 1:
            return nullcontext()
        bundle = self.bundle
        features = bundle.variant.features[0] * (bundle.members or 1)
        outputs = bundle.num_classes
        return PlaneFusion(self.network.head, features, outputs, planes, shape, self.device, self.precision, name)

    def _label_slices(
        self,
        slices: NetworkSlices | EverySecondSlice,
        part: Part,
        output: SliceLabels | PlaneSums | SlicesBetween,
        before: int,
        total: int,
        progress: Progress | None,
        name: str,
    ) -> int:
        """Send the part's slices through the network. before: slices of other planes that are done, of `total`.

        Returns how many are done then.
        """
        wanted = slices.needed(part.slices)
        if isinstance(slices, EverySecondSlice):
            output = SlicesBetween(output, slices.seen, part)
        if progress:
            progress(before, total)
        window = part.window(slices.volume_size[1:], slices.size)
        with closing(self._passes.run(slices, wanted, window, output.write, name)) as passes:
            for done in passes:
                if progress:
                    progress(before + done, total)
        return before + wanted.stop - wanted.start


def _features_of(network: DinoUNet, precision: torch.dtype, device: torch.device, tiles: Tensor) -> Tensor:
    """(B, C, *patch) -> (B, F, *patch)."""
    if precision == torch.float32 or not network.wants_autocast:
        return network.features(tiles)
    with torch.autocast(device.type, precision):
        return network.features(tiles)


def _chosen_planes(bundle: ModelBundle, planes: Sequence[str] | None) -> list[str]:
    """The bundle's planes, or those of them that are named, in its order."""
    if planes is None:
        return bundle.planes
    unknown = [plane for plane in planes if plane not in bundle.planes]
    if unknown or not planes:
        wrong = f"not on {', '.join(unknown)} ones" if unknown else "and none is named"
        raise UserError(f"{bundle.name} was trained on {', '.join(bundle.planes)} slices, {wrong}; choose among these.")
    return [plane for plane in bundle.planes if plane in planes]


def _channels(count: int) -> str:
    return "1 channel" if count == 1 else f"{count} channels"
