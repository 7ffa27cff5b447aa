"""What happens to a label map after the network: one piece per structure, and how large each is."""

from collections.abc import Collection

import numpy as np
import SimpleITK as sitk

from DinoUNetCore.volume.volume import channel_arrays


def keep_largest_components(labels: np.ndarray, values: Collection[int] | None = None) -> None:
    """Clear, in place, all but the largest connected piece of every value in (slices, rows, columns).

    values: those that this is done for; None: all.
    Pieces that touch at a corner are one. Of equally large pieces the first stays. Memory: about eight bytes per voxel
    of the largest structure's bounding box. Give canonical slices, so that storage order does not decide ties.
    """
    for value, box in _bounding_boxes(labels).items():
        if values is not None and value not in values:
            continue
        part = labels[box]
        # Contiguous, in canonical order: the components are numbered in that order, which decides ties.
        mask = sitk.GetImageFromArray(np.ascontiguousarray(part == value).view(np.uint8))
        (components,) = channel_arrays(sitk.ConnectedComponent(mask, True))
        sizes = np.zeros(int(components.max()) + 1, dtype=np.int64)
        for plane in components:
            sizes += np.bincount(plane.ravel(), minlength=len(sizes))
        if len(sizes) > 2:
            largest = 1 + int(sizes[1:].argmax())
            for plane, numbers in zip(part, components, strict=True):
                plane[(numbers != 0) & (numbers != largest)] = 0


def count_voxels(labels: np.ndarray) -> dict[int, int]:
    """{value: voxels} of the values other than 0 in an array KJI, ordered by value."""
    counts: dict[int, int] = {}
    for plane in labels:
        for value, number in _counts_of(plane):
            counts[value] = counts.get(value, 0) + number
    return {value: counts[value] for value in sorted(counts)}


def _counts_of(plane: np.ndarray) -> list[tuple[int, int]]:
    if plane.dtype in (np.uint8, np.uint16):
        counts = np.bincount(plane.ravel())
        return [(int(value), int(counts[value])) for value in np.flatnonzero(counts) if value]
    values, counts = np.unique(plane, return_counts=True)
    return [(int(value), int(number)) for value, number in zip(values, counts, strict=True) if value]


def _bounding_boxes(labels: np.ndarray) -> dict[int, tuple[slice, slice, slice]]:
    """The box around each value other than 0, found slice by slice."""
    bounds: dict[int, list[list[int]]] = {}  # value: for each axis, the first index and the one after the last
    for number, plane in enumerate(labels):
        for value, _ in _counts_of(plane):
            inside = plane == value
            rows, columns = (np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0))
            here = [[number, number + 1], [rows[0], rows[-1] + 1], [columns[0], columns[-1] + 1]]
            known = bounds.get(value, here)
            bounds[value] = [[min(a, c), max(b, d)] for (a, b), (c, d) in zip(known, here, strict=True)]
    return {value: tuple(slice(low, high) for low, high in box) for value, box in sorted(bounds.items())}
