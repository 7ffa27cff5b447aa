"""File endings of images, longest first: `Path.suffix` knows neither .nii.gz nor .seg.nrrd."""

from pathlib import PurePath

ENDINGS = (
    ".seg.nrrd", ".seg.nhdr", ".nii.gz", ".hdr.gz", ".img.gz", ".ome.tiff", ".ome.tif",
    ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".hdr", ".img", ".dcm", ".png", ".tiff", ".tif", ".jpeg", ".jpg", ".bmp",
)  # fmt: skip


def ending_of(name: str | PurePath) -> str:
    """The ending of a file name as it stands there ("" if it has none): ".nii.gz" of "a.b.nii.gz"."""
    name = PurePath(name).name
    known = next((ending for ending in ENDINGS if name.lower().endswith(ending) and len(name) > len(ending)), None)
    return name[-len(known) :] if known else PurePath(name).suffix


def strip_ending(name: str | PurePath) -> str:
    """A file's name without folder and ending: "a.b" of "folder/a.b.nii.gz"."""
    name = PurePath(name).name
    ending = ending_of(name)
    return name[: len(name) - len(ending)] if ending else name
