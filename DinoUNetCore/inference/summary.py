"""What was found in an image, as a table."""

from collections.abc import Sequence
from math import prod

import SimpleITK as sitk

from DinoUNetCore.inference.postprocessing import count_voxels
from DinoUNetCore.volume.labels import Label
from DinoUNetCore.volume.volume import channel_arrays


def summary(
    image: sitk.Image, labels: Sequence[Label], regions: Sequence[Sequence[int]] | None = None
) -> str:
    """A table of the labels that were found with their sizes, and the names of those that were not.

    regions: the values that make up each label, where they overlap.
    """
    voxels = count_voxels(channel_arrays(image)[0])
    parts = regions or [[label.value] for label in labels]
    sizes = [sum(voxels.get(value, 0) for value in values) for values in parts]
    counts = {label.value: size for label, size in zip(labels, sizes, strict=True) if size}
    found = [label for label in labels if label.value in counts]
    width = max((len(label.name) for label in found), default=0)
    millilitres = prod(image.GetSpacing()) / 1000
    lines = []
    for label in found:
        count = counts[label.value]
        size = f"{count:>12,} voxels  {count * millilitres:>10,.1f} ml"
        if image.GetDimension() == 2:
            size = f"{count:>12,} pixels"
        lines.append(f"  {label.name:<{width}}  {size}")
    missing = [label.name for label in labels if label.value not in counts]
    if not found:
        lines.append("  nothing found: every voxel is background; is this image of the kind that the model knows?")
    elif missing:
        lines.append(f"  not found: {', '.join(missing)}")
    return "\n".join(lines)
