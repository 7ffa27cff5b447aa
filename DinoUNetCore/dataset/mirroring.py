"""Which image axes may be mirrored in training: where the mirror image could be a real one with the same labels."""

import re

from DinoUNetCore.volume.geometry import ANTERIOR_POSTERIOR, LEFT_RIGHT, SUPERIOR_INFERIOR

# Words that tell the two directions of one anatomical axis apart.
DIRECTION_WORDS = {
    LEFT_RIGHT: {"left", "right"},
    ANTERIOR_POSTERIOR: {"anterior", "posterior", "front", "back", "ventral", "dorsal"},
    SUPERIOR_INFERIOR: {"superior", "inferior", "upper", "lower", "top", "bottom", "cranial", "caudal"},
}
# Abbreviations count only where two labels differ in nothing else: "L" in "vertebra L1" is no side.
ABBREVIATIONS = {
    LEFT_RIGHT: [("l", "r"), ("lt", "rt"), ("lh", "rh")],
    ANTERIOR_POSTERIOR: [("a", "p"), ("ant", "post")],
    SUPERIOR_INFERIOR: [("s", "i"), ("sup", "inf")],
}


def mirror_axes(labels: list[str], row_axes: set[str], column_axes: set[str]) -> tuple[list[str], str]:
    """Return the axes to mirror, a subset of ["rows", "columns"], and the reason.

    "rows" means that the order of the rows is reversed (up-down), "columns" that of the columns.
    labels: the foreground's names.
    row_axes, column_axes: the anatomical axes (of geometry.AXES) along which the rows and columns of the slices follow
    each other; "" for a picture, where left and right are taken along columns and all else along rows.
    """
    blocked: dict[str, tuple[str, str | None]] = {}
    for anatomy, label in directed_axes(labels).items():
        if anatomy in column_axes or ("" in column_axes and anatomy == LEFT_RIGHT):
            blocked.setdefault("columns", (anatomy, label))
        if anatomy in row_axes or ("" in row_axes and anatomy != LEFT_RIGHT):
            blocked.setdefault("rows", (anatomy, label))
    # A body's left and right look alike; its front and back, head and feet do not, and are known in a volume.
    for axis, anatomies in (("rows", row_axes), ("columns", column_axes)):
        for anatomy in sorted(anatomies - {"", LEFT_RIGHT}):
            blocked.setdefault(axis, (anatomy, None))
    axes = [axis for axis in ("rows", "columns") if axis not in blocked]
    if not blocked:
        return axes, "no label name tells the two directions of an in-plane axis apart, so both axes are mirrored"
    reasons = [
        f"{axis} are not mirrored, because "
        + (f"bodies are not alike along {anatomy}" if label is None else f"{label!r} names one side of {anatomy}")
        for axis, (anatomy, label) in sorted(blocked.items(), reverse=True)
    ]
    return axes, "; ".join(reasons)


def directed_axes(labels: list[str]) -> dict[str, str]:
    """The anatomical axes whose two directions the label names tell apart, each with a label that does so."""
    words_of = {label: _words(label) for label in labels}
    found: dict[str, str] = {}
    for axis, directions in DIRECTION_WORDS.items():
        for label, words in words_of.items():
            if directions & set(words) or _has_twin(words, list(words_of.values()), ABBREVIATIONS[axis]):
                found[axis] = label
                break
    return found


def _has_twin(words: list[str], others: list[list[str]], pairs: list[tuple[str, str]]) -> bool:
    for pair in pairs:
        for place, word in enumerate(words):
            if word in pair:
                twin = pair[1 - pair.index(word)]
                if [*words[:place], twin, *words[place + 1 :]] in others:
                    return True
    return False


def _words(name: str) -> list[str]:
    """Split where there is no letter and where a small letter meets a capital: "kidneyLeft_2" -> kidney, left."""
    spaced = re.sub(r"([a-z])([A-Z])|([A-Z])([A-Z][a-z])", r"\1\3 \2\4", name)
    return [word.casefold() for word in re.findall(r"[^\W\d_]+", spaced)]
