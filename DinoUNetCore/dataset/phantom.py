"""Procedural CT of a torso with its label map, for tests, the demo and sample data: a seed gives the same everywhere.

    image, labels = make_phantom(7)

It is a drawing, not a patient: its shapes are smooth and simple. A network that segments it has learned nothing about
people.
"""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from DinoUNetCore.dataset.torso.anatomy import Anatomy, make_anatomy
from DinoUNetCore.dataset.torso.body import PHANTOM_LABELS
from DinoUNetCore.dataset.torso.canvas import Paint, SliceCanvas, Window
from DinoUNetCore.dataset.torso.draw import Draw, rotation, sum_of_products
from DinoUNetCore.errors import UserError
from DinoUNetCore.files import atomic_path, write_json

__all__ = ["PHANTOM_LABELS", "make_phantom", "write_phantom_dataset"]

SIZE = (192, 192, 64)
LENGTH = 300.0  # mm of the torso along the body, from the upper chest to below the kidneys
MIDDLE = 8.0  # z of the volume's centre in the patient's frame, mm
THICKEST = 6.0  # mm; slices further apart leave gaps between them
LAYERS = 3  # thin slices that are averaged into a thick one: partial volume across slices


def make_phantom(
    seed: int,
    *,
    size: Sequence[int] | None = None,
    spacing: Sequence[float] | None = None,
    direction: Sequence[float] | None = None,
    random_orientation: bool = False,
) -> tuple[sitk.Image, sitk.Image]:
    """Return a CT of a torso (int16, HU) and its label map (uint8, see `PHANTOM_LABELS`) on the same grid.

    The seed alone decides the patient and where it lies; grid arguments only decide how it is scanned, so two scans
    of a seed show the same organs at the same points in space.

    size: voxels along the storage axes I, J, K; by default 192 x 192 x 64, or what covers the torso with `spacing`.
    spacing: mm along I, J, K; by default what makes the volume cover the torso, upper chest to below the kidneys.
    direction: nine direction cosines in SimpleITK's order (LPS, one column per storage axis), orthonormal, in any axis
        order and with any flips; by default plain axial for half of the seeds, tilted by a few degrees for the rest.
    random_orientation: store the voxels in an axis order and with flips drawn from the seed.

    Memory: the two volumes, once more while they are handed to SimpleITK, and a few slices. ValueError for arguments
    that make no grid.
    """
    anatomy = make_anatomy(seed)
    draw = Draw(seed, 2)
    size, spacing, direction, origin = _grid(anatomy, draw, size, spacing, direction)
    image = np.empty(size[::-1], np.int16)
    labels = np.empty(size[::-1], np.uint8)
    grain = Draw(seed, 3)
    noise = draw.between(7, 15)
    for k, (values, slice_labels) in enumerate(_scan(anatomy, size, spacing, direction, origin)):
        values += noise * _correlated(grain, values.shape)
        image[k] = np.clip(np.rint(values), -1024, 3071)
        labels[k] = slice_labels
    images = [sitk.GetImageFromArray(array) for array in (image, labels)]
    for one in images:
        one.SetSpacing(spacing)
        one.SetDirection(direction)
        one.SetOrigin(origin)
    if random_orientation:
        order = draw.choice([(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)])
        flips = [draw.choice((True, False)) for _ in range(3)]
        images = [sitk.Flip(sitk.PermuteAxes(one, order), flips) for one in images]
    return images[0], images[1]


def write_phantom_dataset(
    folder: str | os.PathLike,
    count: int,
    seed: int,
    *,
    overwrite: bool = False,
    size: Sequence[int] | None = None,
    spacing: Sequence[float] | None = None,
    random_orientation: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write `count` phantoms as an nnU-Net v2 raw data set (dataset.json, imagesTr, labelsTr) and return its folder.

    Case n is `make_phantom(seed + n, ...)`. dataset.json is written last: a folder without it is unfinished.
    `progress` is called with (cases done, count). UserError if the folder already holds something; with `overwrite` the
    phantoms of an earlier call are replaced and everything else in the folder is left alone.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file, but a data set is a folder; choose another name.")
    if folder.is_dir() and any(folder.iterdir()):
        if not overwrite:
            raise UserError(f"{folder} exists and is not empty; choose another folder, or ask to overwrite it.")
        for old in [folder / "dataset.json", *folder.glob("*Tr/phantom_*.nii.gz")]:
            old.unlink(missing_ok=True)
    for n in range(count):
        image, labels = make_phantom(seed + n, size=size, spacing=spacing, random_orientation=random_orientation)
        case = f"phantom_{seed + n:04d}"
        _write(image, folder / "imagesTr" / f"{case}_0000.nii.gz")
        _write(labels, folder / "labelsTr" / f"{case}.nii.gz")
        if progress:
            progress(n + 1, count)
    write_json(
        folder / "dataset.json",
        {
            "name": "Phantom",
            "description": f"Procedural CT-like torsos, seeds {seed} to {seed + count - 1}: no patient data.",
            "channel_names": {"0": "CT"},
            "labels": PHANTOM_LABELS,
            "numTraining": count,
            "file_ending": ".nii.gz",
        },
    )
    return folder


def _write(image: sitk.Image, path: Path) -> None:
    with atomic_path(path) as temporary:
        sitk.WriteImage(image, str(temporary), useCompression=True)


def _grid(anatomy: Anatomy, draw: Draw, size, spacing, direction):
    """Size, spacing, direction and origin as plain tuples; what is not given is drawn, always with the same draws."""
    tilted = draw.between(0, 1) < 0.5
    tilt = [draw.between(-0.05, 0.05) for _ in range(3)]
    shift = [draw.between(-6, 6) for _ in range(3)]
    slack, length = draw.between(1.1, 1.25), draw.around(LENGTH, 0.05)
    if direction is None:
        direction = [c for row in rotation(*tilt) for c in row] if tilted else (1, 0, 0, 0, 1, 0, 0, 0, 1)
    direction = tuple(float(c) for c in direction)
    columns = [direction[axis::3] for axis in range(3)]
    for a in range(3):
        for b in range(3):
            if len(direction) != 9 or not abs(sum_of_products(columns[a], columns[b]) - (a == b)) < 1e-5:
                raise ValueError(f"direction must be nine cosines of three perpendicular unit axes, not {direction}")
    # which of left, back and head each storage axis follows: the assignment with the largest cosines
    orders = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
    order = max(orders, key=lambda o: sum(abs(columns[axis][o[axis]]) for axis in range(3)))
    wide = 2 * slack * anatomy.half_width
    cover = [(wide, wide, length)[axis] for axis in order]
    if size is None:
        size = [SIZE[axis] for axis in order]
        if spacing is not None:
            size = [max(round(c / s), 1) for c, s in zip(cover, spacing, strict=True)]
    size = tuple(int(n) for n in size)
    if len(size) != 3 or min(size) < 1:
        raise ValueError(f"size must be three positive numbers of voxels, not {size}")
    if spacing is None:
        spacing = [round(c / n, 4) for c, n in zip(cover, size, strict=True)]
    spacing = tuple(float(s) for s in spacing)
    if len(spacing) != 3 or not all(0 < s < math.inf for s in spacing):
        raise ValueError(f"spacing must be three positive numbers of mm, not {spacing}")
    middle = [p + s + m for p, s, m in zip(anatomy.place, shift, (0, 0, MIDDLE), strict=True)]
    half = [(n - 1) / 2 * s for n, s in zip(size, spacing, strict=True)]
    origin = tuple(
        round(middle[axis] - sum_of_products(direction[3 * axis : 3 * axis + 3], half), 3) for axis in range(3)
    )
    return size, spacing, direction, origin


def _scan(anatomy: Anatomy, size, spacing, direction, origin) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (HU as float32, labels) of each slice. A thick voxel averages layers; its label is its centre's."""
    room = [
        [direction[3 * axis + c] * spacing[c] for c in range(3)] + [origin[axis] - anatomy.place[axis]]
        for axis in range(3)
    ]
    patient = [
        [sum_of_products(anatomy.turn[axis], [room[r][c] for r in range(3)]) / anatomy.scale[axis] for c in range(4)]
        for axis in range(3)
    ]
    thick = max(range(3), key=lambda axis: (spacing[axis], axis))
    thin = sorted(spacing)[1]
    softness = 1.1 * max(1.1, min(thin, 2.5 * min(spacing)))
    layers = LAYERS if spacing[thick] > 1.5 * min(spacing) else 1
    thickness = min(THICKEST / spacing[thick], 1)  # in voxels
    bounds = _Bounds(anatomy, patient, size, softness)
    for k in range(size[2]):
        total = np.zeros((size[1], size[0]), np.float32)
        for layer in range(layers):
            part = (layer - (layers - 1) / 2) / layers * thickness
            offset = [part if axis == thick else 0.0 for axis in range(3)]
            offset[2] += k
            canvas = SliceCanvas(patient, room, anatomy.warp, total.shape, offset, softness)
            for stroke, window in bounds.at(k):
                canvas.paint(stroke, window, layer == layers // 2)
            total += canvas.values
            if layer == layers // 2:
                labels = canvas.labels
        yield total * (1 / layers), labels


class _Bounds:
    """For each stroke the block of voxels outside which it surely paints nothing."""

    def __init__(self, anatomy: Anatomy, patient, size, softness: float):
        matrix = np.array(patient)
        to_index = np.linalg.inv(matrix[:, :3])
        self.strokes = anatomy.strokes
        self.low, self.high = [], []
        for stroke in anatomy.strokes:
            low, high = np.zeros(3, int), np.array(size) - 1
            for shape in (stroke.shape, stroke.within):
                if shape is not None and shape.box is not None:
                    centre, half = _unbend(anatomy.warp, *shape.box)
                    middle = to_index @ (np.array(centre) - matrix[:, 3])
                    reach = np.abs(to_index) @ (np.array(half) + softness / 2) + 0.35  # layers lie up to 1/3 voxel off
                    low = np.maximum(low, np.ceil(middle - reach).astype(int))
                    high = np.minimum(high, np.floor(middle + reach).astype(int))
            self.low.append(low.tolist())
            self.high.append(high.tolist())

    def at(self, k: int) -> Iterator[tuple[Paint, Window]]:
        for stroke, low, high in zip(self.strokes, self.low, self.high, strict=True):
            if low[2] <= k <= high[2] and low[0] <= high[0] and low[1] <= high[1]:
                yield stroke, (slice(low[1], high[1] + 1), slice(low[0], high[0] + 1))


def _unbend(warp, centre, half) -> tuple[list[float], list[float]]:
    """A box (centre, half extents) in unwarped patient mm around what the warp brings into the given box."""
    point, moved = list(centre), [0.0, 0.0, 0.0]
    for _ in range(6):
        moved = [sum(wave.at(point) for wave in axis) for axis in warp]
        point = [c - m for c, m in zip(centre, moved, strict=True)]
    # the warp is steepest at 8 amplitudes per wave length; it never moves a point further than all its amplitudes
    reach = (half[0] ** 2 + half[1] ** 2 + half[2] ** 2) ** 0.5
    grown = []
    for h, m, axis in zip(half, moved, warp, strict=True):
        steep = sum(8 * wave.amplitude * sum_of_products(wave.frequency, wave.frequency) ** 0.5 for wave in axis)
        farthest = sum(wave.amplitude for wave in axis) + abs(m)
        grown.append(h + min(1.6 * steep * reach, farthest) + 0.2)
    return point, grown


def _correlated(grain: Draw, shape: tuple[int, int]) -> np.ndarray:
    """Noise of variance about 1 whose grain is a little wider than a pixel, as reconstruction filters leave it."""
    noise = grain.grain((shape[0] + 2, shape[1] + 2))
    noise = noise[:-2] + 2 * noise[1:-1] + noise[2:]
    noise = noise[:, :-2] + 2 * noise[:, 1:-1] + noise[:, 2:]
    return noise * (1 / 6.0)
