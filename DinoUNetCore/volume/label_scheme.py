"""What the values of label maps mean to the network: classes or regions, and voxels that nobody judged."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from DinoUNetCore.volume.labels import Label, default_labels

BACKGROUND = 0  # the label value, the class index, and what is written where no output says otherwise
IGNORE = "ignore"  # nnU-Net's name of the label of voxels that nobody judged


@dataclass(frozen=True)
class LabelScheme:
    """Classes exclude each other: one output each, the background's too. Regions may overlap: an output for each.

    labels: {name: value}, with the background's 0; for regions the value that is written where a region is found.
    regions: {name: the label values that make it up} in the order of writing, later ones over earlier ones (nnU-Net's
        regions_class_order); None for classes.
    ignore: value of voxels that count nowhere, above all others; None if there are none.
    """

    labels: dict[str, int]
    regions: dict[str, list[int]] | None = None
    ignore: int | None = None

    @cached_property
    def values(self) -> list[int]:
        """The label values by class index, as prepared cases hold it: ascending, the background's 0 first."""
        if self.regions is None:
            return sorted(self.labels.values())
        return sorted({BACKGROUND, *(value for region in self.regions.values() for value in region)})

    @property
    def ignore_index(self) -> int | None:
        """The class index of ignored pixels in prepared cases."""
        return None if self.ignore is None else len(self.values)

    @cached_property
    def names(self) -> list[str]:
        """What the network finds, by its outputs; the background's is left out."""
        if self.regions is None:
            by_value = sorted(self.labels, key=self.labels.__getitem__)
            return [name for name in by_value if self.labels[name] != BACKGROUND]
        return list(self.regions)

    @property
    def written(self) -> list[int]:
        """The value in label maps for each of `names`."""
        return [self.labels[name] for name in self.names]

    @property
    def described(self) -> list[Label]:
        """`names` with their values, colours and codes."""
        label_of = {label.name: label for label in default_labels(self.labels)}
        return [label_of[name] for name in self.names]

    @property
    def outputs(self) -> int:
        """Channels of the network's logits."""
        return len(self.values) if self.regions is None else len(self.regions)

    @cached_property
    def membership(self) -> np.ndarray | None:
        """(classes, outputs) bool: which regions a class index belongs to. None for classes."""
        if self.regions is None:
            return None
        return np.array([[value in region for region in self.regions.values()] for value in self.values])

    @property
    def structures(self) -> dict[str, int | list[int]]:
        """{name: label value, or values of a region}, with the ignored voxels' value, as `metrics.evaluate_case` takes
        them.
        """
        found = {name: self.labels[name] if self.regions is None else self.regions[name] for name in self.names}
        return found if self.ignore is None else found | {IGNORE: self.ignore}

    @property
    def known_values(self) -> list[int]:
        """All values that label maps of the data set may hold, ascending."""
        return self.values if self.ignore is None else [*self.values, self.ignore]

    def class_indices(self, values: np.ndarray) -> np.ndarray:
        """Known label values to class indices: uint8, or uint16 where they are many."""
        indices = np.searchsorted(np.array(self.known_values), np.ascontiguousarray(values))
        return indices.astype(_small(len(self.known_values)))

    @cached_property
    def shown(self) -> np.ndarray:
        """By class index, ignored pixels' too: 0 for what is drawn as background, else 1 + a position in `names`."""
        if self.regions is None:
            table = list(range(len(self.values)))
        else:
            table = [max((1 + position for position in np.flatnonzero(row)), default=0) for row in self.membership]
        return np.array(table if self.ignore is None else [*table, 0], dtype=_small(len(table)))


def _small(count: int) -> type[np.unsignedinteger]:
    """A type for indices below `count`."""
    return np.uint8 if count <= 256 else np.uint16
