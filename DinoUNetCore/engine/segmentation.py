"""A segment request, from its voxels to its result."""

import math
import time
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np
import torch

from DinoUNetCore.device import PRECISIONS, choose_device
from DinoUNetCore.engine.computer import usual_threads
from DinoUNetCore.engine.images import volume_of
from DinoUNetCore.engine.job import Job
from DinoUNetCore.engine.models import Models
from DinoUNetCore.engine.progress import Loading, Progress
from DinoUNetCore.engine.refusals import Refusal
from DinoUNetCore.inference.cpu_in_reserve import CpuInReserve, precision_on_cpu
from DinoUNetCore.inference.postprocessing import count_voxels
from DinoUNetCore.inference.provenance import chosen_options, precision_name
from DinoUNetCore.inference.segmenter import Segmenter
from DinoUNetCore.memory import OutOfMemory, limited_memory
from DinoUNetCore.volume.volume import Volume

_CPU = torch.device("cpu")


def prepare(job: Job, models: Models) -> None:
    """While the voxels arrive: refuse what cannot be done, and load the model."""
    sha256, device = _model_and_device(job, models)
    precision = job.request.options.precision
    if not models.is_ready(sha256, device, precision):
        job.progress(0.0, None, "loading")
        # running out of memory is said, and mended where it can be, when the work begins
        with suppress(OutOfMemory), limited_memory(device, job.request.options.max_memory):
            models.network(sha256, device, precision, Loading(job))


def segment(job: Job, models: Models) -> None:
    """Work on a request whose voxels are there, and end it with its result.

    Where a GPU has too little memory for the model or for one patch, the CPU does it. Refusal or UserError say why
    there is no result.
    """
    try:
        _segment(job, models)
    except OutOfMemory as error:
        raise Refusal("out_of_memory", str(error)) from error


def _segment(job: Job, models: Models) -> None:
    started = time.monotonic()
    job.progress(0.0, None, "preparing")
    sha256, device = _model_and_device(job, models)
    warn = partial(job.log, "warning")
    highest: dict[int, float] = {}
    with limited_memory(device, job.request.options.max_memory, warn):
        reserve = CpuInReserve(lambda on_cpu: _segmenter(job, models, sha256, device, on_cpu), device, warn)
        segmenter = reserve.segmenter
        volume = segmenter.volume_of(volume_of(job.request, job.take_data(), job, segmenter.bundle.unit))
        for sentence in segmenter.cautions(volume):
            warn(sentence)
        del segmenter
        labels = reserve.run(lambda segmenter: _label(job, segmenter, volume, highest))
    facts = _facts(job, reserve.segmenter, labels, highest, volume.resampled)
    job.finish({**facts, "seconds": round(time.monotonic() - started, 3)}, memoryview(labels).cast("B"))


def _model_and_device(job: Job, models: Models) -> tuple[str, torch.device]:
    options = job.request.options
    if options.precision not in PRECISIONS:
        raise Refusal("bad_request", f"the precision {options.precision} is none of {', '.join(PRECISIONS)}.")
    return models.find(job.request.sha256, job.request.name), choose_device(options.device)


def _segmenter(job: Job, models: Models, sha256: str, device: torch.device, on_cpu: bool) -> Segmenter:
    """On the device, or on the CPU in its place."""
    options, usual = job.request.options, usual_threads()
    precision = options.precision
    if on_cpu:
        device, precision = _CPU, precision_on_cpu(precision)
        models.release()
    bundle, network = models.network(sha256, device, precision, Loading(job))
    return Segmenter(
        bundle,
        str(device),
        batch_size=options.batch_size,
        mirror=options.mirror,
        fast=options.fast,
        planes=options.planes,
        keep_largest=options.keep_largest,
        threads=options.threads or usual,
        precision=precision,
        network=network,
    )


def _label(job: Job, segmenter: Segmenter, volume: Volume, highest: dict[int, float]) -> np.ndarray:
    """The label values of the request's region, KJI."""
    progress = Progress(job, announce=segmenter.device == _CPU)
    return segmenter.label(volume, job.request.region, progress=progress, highest=highest, check=job.check)


def _facts(
    job: Job, segmenter: Segmenter, labels: np.ndarray, highest: dict[int, float], resampled: bool
) -> dict[str, Any]:
    """The fields of the result, without its seconds."""
    region = job.request.region or tuple((0, count) for count in job.request.images[0].size)
    found = count_voxels(labels)
    missing = [label for label in segmenter.bundle.labels if label.value not in found]
    return {
        "dtype": labels.dtype.str,
        "size": labels.shape[::-1],
        "region": region,
        "labels": [label.to_json() for label in segmenter.bundle.labels],
        "found": {str(value): count for value, count in found.items()},
        "highest": {
            label.name: highest[label.value] for label in missing if math.isfinite(highest.get(label.value, math.nan))
        },
        "device": str(segmenter.device),
        "precision": precision_name(segmenter),
        "options": chosen_options(segmenter, resampled),
    }
