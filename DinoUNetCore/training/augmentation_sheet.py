"""A picture of augmented samples, for the eye: one patch as it is, and a dozen times as the network will see it."""

from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap

import numpy as np

from DinoUNetCore.dataset.augmentation import Numbers
from DinoUNetCore.dataset.slices import TrainingSlices, collate_windows
from DinoUNetCore.files import atomic_path
from DinoUNetCore.overlay import FAINT, GROUND, TEXT
from DinoUNetCore.volume.label_scheme import LabelScheme
from DinoUNetCore.volume.labels import Label

ROWS, COLUMNS = 3, 4  # of the augmented patches, right of the patch itself
PANEL = 1.9  # inches
HEADING = 0.5  # inches above all panels
CAPTION = 0.3  # inches above each panel, two lines
LINE = 38  # letters
DPI = 110
CANDIDATES = 24  # samples among which the one with most structures is shown


def draw_augmentations(path: Path, slices: TrainingSlices, scheme: LabelScheme, title: str) -> None:
    """Draw a PNG, written atomically; UserError if it cannot be written.

    slices: with an augmentation. The outlines of the scheme's labels are drawn.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    samples = (slices[(0, number)] for number in range(2, 3 * CANDIDATES, 3))  # every third shows a structure
    image, label, _ = max(samples, key=lambda sample: len(np.unique(sample[1])))
    random = np.random.default_rng(slices.seed)
    channels = len(image) // slices.context_slices
    drawn = [Numbers()]
    drawn += [slices.augmentation.draw(random, channels, slices.context_slices) for _ in range(ROWS * COLUMNS)]
    labels = scheme.described
    patches, classes = slices.augmentation(collate_windows([(image, label, numbers) for numbers in drawn]), "cpu")

    # of context slices the middle one is the patch's own; three channels are shown as colours
    first = channels * (slices.context_slices // 2)
    patches = patches[:, first : first + (3 if channels == 3 else 1)].permute(0, 2, 3, 1).numpy()
    low, high = np.percentile(patches[0], (1, 99))
    pixels = ((patches - low) / max(high - low, 1e-6)).clip(0, 1)

    width = PANEL * (COLUMNS + ROWS)
    height = PANEL * ROWS + HEADING
    figure = Figure(figsize=(width, height), facecolor=GROUND)
    FigureCanvasAgg(figure)
    figure.text(0.006, 1 - 0.5 * HEADING / height, title, color=TEXT, fontsize=12, va="center", parse_math=False)
    for index, numbers in enumerate(drawn):
        row, column = divmod(index - 1, COLUMNS)
        span, left, bottom = (1, ROWS + column, ROWS - 1 - row) if index else (ROWS, 0, 0)
        box = (left * PANEL / width, bottom * PANEL / height, span * PANEL / width, span * PANEL / height)
        caption = _caption(numbers) if index else "as it is"
        _draw_panel(figure, box, pixels[index], scheme.shown[classes[index].numpy()], labels, caption)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=DPI, format="png", facecolor=GROUND)


def _draw_panel(figure, box, pixels: np.ndarray, classes: np.ndarray, labels: Sequence[Label], caption: str) -> None:
    left, bottom, width, height = box
    room = CAPTION / figure.get_figheight()
    gap = 0.003
    axes = figure.add_axes((left + gap, bottom + gap, width - 2 * gap, height - room - gap))
    axes.set_axis_off()
    axes.imshow(pixels if pixels.shape[2] == 3 else pixels[..., 0], cmap="gray", vmin=0, vmax=1)
    for number, label in enumerate(labels, start=1):
        inside = classes == number
        if inside.any():
            # a frame of background closes the outlines of what touches the patch's edge
            places = [np.arange(-1, side + 1) for side in inside.shape]
            color = [part / 255 for part in label.color]
            axes.contour(*places[::-1], np.pad(inside, 1).astype(float), (0.5,), colors=[color], linewidths=0.9)
    axes.set(xlim=(-0.5, classes.shape[1] - 0.5), ylim=(classes.shape[0] - 0.5, -0.5))
    top = bottom + height - 0.5 * room
    figure.text(left + width / 2, top, caption, color=FAINT, fontsize=6.5, ha="center", va="center")


def _caption(numbers: Numbers) -> str:
    """What was drawn, in the order in which it is done."""
    parts = []
    if numbers.rotation is not None:
        parts.append(f"{numbers.rotation:+.0f}°")
    if numbers.scaling is not None:
        parts.append(f"size ×{1 / numbers.scaling:.2f}")
    if numbers.noise is not None:
        parts.append(f"noise {numbers.noise:.2f}")
    parts += [f"{name.replace('_', ' ')} {strength[0]:.2f}" for name, strength in numbers.intensity.items()]
    mirrored = [axis for axis, done in zip(("rows", "columns"), numbers.mirror, strict=True) if done]
    if mirrored:
        parts.append("mirrored " + " and ".join(mirrored))
    return "\n".join(wrap(", ".join(parts), LINE)) or "nothing drawn"
