"""Label maps to files: whole or not at all, with names and colours that 3D Slicer shows.

A .seg.nrrd carries names, colours and codes itself; beside any other file a colour table (.ctbl) is written, which
Slicer offers when the label map is loaded as a segmentation.
"""

import os
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from DinoUNetCore.errors import UserError, is_out_of_memory
from DinoUNetCore.files import atomic_path, write_text
from DinoUNetCore.volume.endings import ending_of, strip_ending
from DinoUNetCore.volume.headers import check_file
from DinoUNetCore.volume.labels import Code, Label
from DinoUNetCore.volume.volume import Grid, channel_arrays

__all__ = [
    "PICTURE_ENDINGS", "WRITABLE_ENDINGS", "check_color_table", "ending_of", "is_writable_ending", "strip_ending",
    "terminology_entry", "write_label_map",
]  # fmt: skip

SEGMENTATION_ENDING = ".seg.nrrd"
PICTURE_ENDINGS = (".png", ".tif", ".tiff")  # they keep the pixels of a 2D label map, not its place in space
WRITABLE_ENDINGS = (SEGMENTATION_ENDING, ".nii.gz", ".nii", ".nrrd", ".mha", *PICTURE_ENDINGS)

NIFTI_NOTES = 79  # characters of `descrip`; ITK refuses to write more
SHORTEST_NAME = 20  # of them, that a model's name keeps

_TERMINOLOGY = "Segmentation category and type - 3D Slicer General Anatomy list"
_ANATOMIC_REGIONS = "Anatomic codes - DICOM master list"


def is_writable_ending(ending: str, dimension: int = 3) -> bool:
    """Whether `write_label_map` writes files with this ending (such as ".nii.gz") for 2D or 3D label maps."""
    ending = ending.lower()
    return ending in WRITABLE_ENDINGS and (dimension == 2 or ending not in PICTURE_ENDINGS)


def write_label_map(
    image: sitk.Image,
    path: str | os.PathLike,
    labels: Sequence[Label],
    overwrite: bool = False,
    provenance: Mapping[str, str] | None = None,
) -> None:
    """Write a label map (2D or 3D, one whole-numbered component) with the names and colours of its labels.

    The ending chooses the format (WRITABLE_ENDINGS). In a .seg.nrrd a 2D label map becomes a volume of one slice, as
    3D Slicer has it. Every value in the image must have a label.

    provenance: how it was made, such as {"Model": "liver"}: kept in the file as fields "DinoUNet.Model" and so on, in
    NIfTI in the 79 characters of its `descrip`; pictures have no place for it.

    Raises UserError naming the file: unwritable ending, values without label or too large for the format, a file that
    exists or another colour table beside it (unless `overwrite`), a full disk, too little memory.
    """
    path = Path(path)
    try:
        _write(image, path, labels, overwrite, provenance or {})
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(
            f"cannot write {path}: this computer has too little free memory; close other programs."
        ) from error


def check_color_table(path: Path, labels: Sequence[Label]) -> None:
    """Raise UserError if beside a label map of this name another colour table lies than belongs to the labels."""
    if ending_of(path).lower() == SEGMENTATION_ENDING:
        return
    table = _color_table_file(path)
    try:
        differs = table.read_bytes() != color_table(labels, strip_ending(path)).encode()
    except FileNotFoundError:
        return
    except OSError:  # a folder, or a file that may not be read
        differs = True
    if differs:
        raise UserError(
            f"{table} exists already, and is not the colour table of these labels; choose another name, remove it or "
            "allow it to be overwritten."
        )


def _write(
    image: sitk.Image, path: Path, labels: Sequence[Label], overwrite: bool, provenance: Mapping[str, str]
) -> None:
    ending = ending_of(path).lower()
    if not is_writable_ending(ending, image.GetDimension()):
        choices = [item for item in WRITABLE_ENDINGS if is_writable_ending(item, image.GetDimension())]
        raise UserError(
            f"a {image.GetDimension()}D label map cannot be written to {path}; end its name in {', '.join(choices)}."
        )
    if path.exists() and (path.is_dir() or not overwrite):
        raise UserError(f"{path} exists already; choose another name, remove it or allow it to be overwritten.")
    if not overwrite:
        check_color_table(path, labels)
    image = _in_smallest_type(image, path, labels)
    if ending in PICTURE_ENDINGS and image.GetPixelID() == sitk.sitkInt32:
        raise UserError(
            f"label values beyond 65535 do not fit into {path}; choose a name that ends in .nii.gz or .nrrd."
        )
    if ending == SEGMENTATION_ENDING:
        image = _with_segments(image, labels)
    elif provenance:  # a real copy, whose metadata is its own
        image = Grid.of(image).to_image(channel_arrays(image)[0])
    for key, value in _provenance_fields(provenance, ending).items():
        image.SetMetaData(key, value)
    with atomic_path(path) as temporary:
        try:
            sitk.WriteImage(image, str(temporary), useCompression=ending != ".nii")
            complete = _is_complete(temporary, image, ending)
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            raise OSError(str(error).strip().splitlines()[-1]) from error
        if not complete:
            raise OSError("not everything was written")
        if ending != SEGMENTATION_ENDING:  # first: where it cannot be written, there is to be no label map either
            write_text(_color_table_file(path), color_table(labels, strip_ending(path)))


def _color_table_file(path: Path) -> Path:
    return path.with_name(strip_ending(path) + ".ctbl")


def color_table(labels: Sequence[Label], name: str) -> str:
    """The labels as a 3D Slicer colour table; its format has no room for blanks in names."""
    lines = [f"# Color table file {_one_line(name)}.ctbl", f"# {len(labels) + 1} values", "0 background 0 0 0 0"]
    for label in sorted(labels, key=lambda label: label.value):
        lines.append(
            " ".join([str(label.value), "_".join(_one_line(label.name).split()), *map(str, label.color), "255"])
        )
    return "\n".join(lines) + "\n"


def _provenance_fields(provenance: Mapping[str, str], ending: str) -> dict[str, str]:
    """What ITK is to write into a file's header."""
    if ending in PICTURE_ENDINGS or not provenance:
        return {}
    facts = {name: _one_line(fact) for name, fact in provenance.items()}
    if ending == ".mha":  # what is not ASCII at a value's end is dropped when ITK reads it
        facts = {name: fact if fact[-1:].isascii() else f'"{fact}"' for name, fact in facts.items()}
    if ending not in (".nii", ".nii.gz"):
        return {f"DinoUNet.{name}": fact for name, fact in facts.items()}
    first, *others = facts.values()  # a long name of the model is cut first, and then, at the end, the options
    rest = "".join(f" {fact}" for fact in others)
    notes = (first[: max(SHORTEST_NAME, NIFTI_NOTES - len(rest))] + rest).strip()[:NIFTI_NOTES]
    return {"ITK_FileNotes": notes.encode("ascii", "replace").decode("ascii")}


def _is_complete(written: Path, image: sitk.Image, ending: str) -> bool:
    """Whether a file holds all that was written to it: on a full disk ITK's NIfTI and TIFF writers report no error."""
    try:
        if ending in (".nii", ".nii.gz"):
            check_file(written)
        elif ending in PICTURE_ENDINGS:
            return np.array_equal(channel_arrays(sitk.ReadImage(str(written)))[0], channel_arrays(image)[0])
    except UserError:
        return False
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        return False
    return True


def _in_smallest_type(image: sitk.Image, path: Path, labels: Sequence[Label]) -> sitk.Image:
    """The image as uint8, uint16 or int32, after checking that its values and its labels belong together."""
    values = [label.value for label in labels]
    if len(set(values)) < len(values) or 0 in values:
        raise UserError(f"cannot write {path}: every label needs a value of its own, other than 0.")
    (array,) = channel_arrays(image)
    present = np.zeros(0, dtype=array.dtype)
    for plane in array:
        present = np.union1d(present, _values_of(plane))
    unnamed = sorted({int(value) for value in present} - {0, *values})
    if unnamed:
        raise UserError(f"cannot write {path}: it has values without a label ({', '.join(map(str, unnamed[:5]))}).")
    low, high = min([0, *values]), max([0, *values])
    for pixel_id, dtype in ((sitk.sitkUInt8, np.uint8), (sitk.sitkUInt16, np.uint16), (sitk.sitkInt32, np.int32)):
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return image if image.GetPixelIDValue() == pixel_id else sitk.Cast(image, pixel_id)
    raise UserError(f"cannot write {path}: label values from {low} to {high} do not fit into a label map.")


def _values_of(plane: np.ndarray) -> np.ndarray:
    if plane.dtype.kind == "f" and (plane != np.rint(plane)).any():
        raise ValueError("a label map holds whole numbers")
    return np.flatnonzero(np.bincount(plane.ravel(), minlength=1)) if plane.dtype == np.uint8 else np.unique(plane)


def _with_segments(image: sitk.Image, labels: Sequence[Label]) -> sitk.Image:
    """A 3D copy of the image that carries the segments' descriptions as 3D Slicer writes them."""
    grid = Grid.of(image)
    # A real copy: SimpleITK's copies share their metadata with the original.
    image = replace(grid, dimension=3).to_image(channel_arrays(image)[0])
    image.SetMetaData("Segmentation_MasterRepresentation", "Binary labelmap")
    image.SetMetaData("Segmentation_ContainedRepresentationNames", "Binary labelmap|")
    image.SetMetaData("Segmentation_ReferenceImageExtentOffset", "0 0 0")
    # All segments share one layer, which Slicer crops to its first segment's extent: so all have the whole image's.
    extent = " ".join(f"0 {count - 1}" for count in grid.size)
    for number, label in enumerate(sorted(labels, key=lambda label: label.value)):
        described = {
            "ID": f"Segment_{label.value}",
            "Name": label.name,
            "NameAutoGenerated": "0",
            "Color": " ".join(f"{part / 255:.6g}" for part in label.color),
            "ColorAutoGenerated": "0",
            "LabelValue": str(label.value),
            "Layer": "0",
            "Extent": extent,
            "Tags": _tags(label),
        }
        for key, value in described.items():
            if value:
                image.SetMetaData(f"Segment{number}_{key}", _one_line(value))
    return image


def _one_line(text: str) -> str:
    """The text without line ends, and without what no header holds: NUL, which ends it, and halves of characters."""
    return " ".join("".join(" " if unicodedata.category(c) in ("Cc", "Cs") else c for c in text).split())


def terminology_entry(label: Label) -> str:
    """The label's codes in 3D Slicer's one-line form (a segment's tag "TerminologyEntry"); "" if it has none."""
    if label.terminology is None:
        return ""
    parts = [label.terminology.get(key) for key in ("category", "type", "modifier")]
    return "~".join([_TERMINOLOGY, *map(_triplet, parts), _ANATOMIC_REGIONS, _triplet(None), _triplet(None)])


def _tags(label: Label) -> str:
    entry = terminology_entry(label)
    return f"TerminologyEntry:{entry}|" if entry else ""


def _triplet(code: Code | None) -> str:
    # "~", "^" and "|" separate the parts of the entry and cannot occur inside one.
    parts = ("", "", "") if code is None else (code["scheme"], code["value"], code["meaning"])
    return "^".join(part.translate(str.maketrans("~^|", "---")) for part in parts)
