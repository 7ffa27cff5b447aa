"""Sample data: a phantom CT, drawn on request, so that a client has something to show without any download."""

import SimpleITK as sitk

from DinoUNetCore.dataset.phantom import make_phantom
from DinoUNetCore.engine.job import Job


def draw(job: Job) -> None:
    """Answer with the phantom of the request's seed."""
    seed = job.request.seed
    job.progress(0.0, None, "drawing")
    image, _ = make_phantom(seed)
    array = sitk.GetArrayFromImage(image)
    facts = {
        "name": f"Phantom CT {seed}",
        "dtype": array.dtype.str,
        "size": image.GetSize(),
        "spacing": image.GetSpacing(),
        "origin": image.GetOrigin(),
        "direction": image.GetDirection(),
    }
    job.finish(facts, memoryview(array).cast("B"))
