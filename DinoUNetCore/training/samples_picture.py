"""A picture of patches as the network will see them: normalised, resampled and cut, with the outlines of their labels."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from DinoUNetCore.dataset.fingerprint import Fingerprint
from DinoUNetCore.dataset.plan import Plan
from DinoUNetCore.dataset.preprocessing import PreparedCase
from DinoUNetCore.files import atomic_path
from DinoUNetCore.overlay import DPI, FAINT, GROUND, TEXT
from DinoUNetCore.training.sample_patches import SamplePatch, choose_patches
from DinoUNetCore.volume.geometry import ANTERIOR_POSTERIOR, LEFT_RIGHT, SUPERIOR_INFERIOR, Slicing
from DinoUNetCore.volume.labels import Label, default_labels

CASES = 6
COLUMNS = 4  # panels of a case
PANEL = 2.5  # inches: the longer side of a panel
MARGIN, GAP, HEADING, CAPTION, LINE = 0.25, 0.12, 0.34, 0.22, 0.24  # inches
FRAME = "#ffd34d"  # of a patch in the whole slice
# What lies at the top of rows, and at the left of columns, that follow an axis in canonical slices.
FIRST = {LEFT_RIGHT: "R", ANTERIOR_POSTERIOR: "A", SUPERIOR_INFERIOR: "S"}


@dataclass(frozen=True)
class Panel:
    """image: (rows, columns), or (rows, columns, 3) for colours. label: class indices. aspect: height by width of a
    pixel. edge: (top, bottom, left, right) of what is no repeated border, in pixels. frames: such of patches.
    """

    caption: str
    image: np.ndarray
    label: np.ndarray
    aspect: float
    edge: tuple[float, float, float, float]
    frames: tuple[tuple[float, float, float, float], ...] = ()

    @property
    def shape(self) -> tuple[float, float]:
        """Height and width, in column widths."""
        return self.image.shape[0] * self.aspect, self.image.shape[1]


def draw_samples(path: Path, plan: Plan, fingerprint: Fingerprint, cases: Sequence[PreparedCase]) -> None:
    """One row of panels per case, written as PNG."""
    shown: Counter = Counter()
    rows = [(case, _panels(case, plan, shown)) for case in cases]
    titles = [_title(case, panels, fingerprint) for case, panels in rows]
    letters = [_letters(plan, fingerprint, case) for case, _ in rows]
    _draw(path, plan, [panels for _, panels in rows], titles, letters, len(fingerprint.cases))
