"""What the labels of a data set, or of a plan for it, mean."""

from typing import Protocol

from DinoUNetCore.volume.label_scheme import LabelScheme


class Labelled(Protocol):
    """What describes its labels: a `Dataset` or a `Plan`."""

    labels: dict[str, int]
    regions: dict[str, list[int]] | None
    ignore: int | None


def scheme_of(labelled: Labelled) -> LabelScheme:
    """The scheme of a data set or a plan."""
    return LabelScheme(labelled.labels, labelled.regions, labelled.ignore)
