"""What to segment and where to write it: from a command line's inputs and output to one pair per case."""

import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from DinoUNetCore.errors import UserError
from DinoUNetCore.volume import dicom
from DinoUNetCore.volume.endings import ENDINGS, ending_of, strip_ending
from DinoUNetCore.volume.writing import PICTURE_ENDINGS, WRITABLE_ENDINGS, is_writable_ending

_PICTURES = (*PICTURE_ENDINGS, ".jpg", ".jpeg", ".bmp")
_VOLUME_FORMAT, _PICTURE_FORMAT = ".nii.gz", ".png"
_DATA_BESIDE_HEADER = (".img", ".img.gz")


@dataclass(frozen=True)
class InputCase:
    """One image to segment. files: one per channel, or one file (or DICOM folder) with all channels."""

    name: str
    files: tuple[Path, ...]


def find_cases(inputs: Sequence[Path], channels: int) -> list[InputCase]:
    """The cases among the inputs of a model with so many channels.

    One file, or a folder of DICOM slices: one case. Several files: the channels of one case. A folder of images: one
    case per file; if all names have nnU-Net's form CASE_0000 (channel 0), CASE_0001, ..., the channels of each CASE
    together. A folder of folders: each a DICOM case. UserErrors name what is missing or ambiguous.
    """
    for path in inputs:
        if not path.exists():
            raise UserError(f"{path} does not exist; give an image file, or a folder of images or DICOM slices.")
    if len(inputs) > 1 or inputs[0].is_file():
        return [InputCase(strip_ending(inputs[0]).removesuffix("_0000"), tuple(inputs))]
    folder = inputs[0]
    try:
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
        files = [entry for entry in entries if entry.is_file()]
        images = [path for path in files if _is_image(path)]
        slices = [path for path in files if path not in images and dicom.is_dicom(path)]
    except OSError as error:
        raise UserError(f"cannot read {folder}: {error.strerror or error}; check its permissions.") from error
    if images and slices:
        raise UserError(
            f"{folder} holds DICOM slices ({slices[0].name}) and other images ({images[0].name}); "
            "put them into folders of their own."
        )
    if images:
        return _cases_of(images, channels)
    if not files and entries:
        return [InputCase(entry.name, (entry,)) for entry in entries]
    return [InputCase(folder.resolve().name, (folder,))]


def _is_image(path: Path) -> bool:
    name = path.name.lower()
    return name.endswith(ENDINGS) and not name.endswith((".dcm", *_DATA_BESIDE_HEADER))


def _cases_of(images: Sequence[Path], channels: int) -> list[InputCase]:
    matches = [re.fullmatch(r"(.+)_(\d{4})", strip_ending(path)) for path in images]
    if all(match and int(match[2]) < channels for match in matches):
        together: dict[str, list[Path]] = {}
        for path, match in zip(images, matches, strict=True):
            together.setdefault(match[1], []).append(path)
        return [InputCase(name, tuple(files)) for name, files in together.items()]
    cases: dict[str, InputCase] = {}
    for path in images:
        name = strip_ending(path)
        if name in cases:
            raise UserError(f"{cases[name].files[0]} and {path} would both be written as {name}; rename one of them.")
        cases[name] = InputCase(name, (path,))
    return list(cases.values())


def choose_outputs(cases: Sequence[InputCase], inputs: Sequence[Path], output: Path, ending: str | None) -> list[Path]:
    """The label map's file of each case. ending: for files in a folder; None: .nii.gz, or .png for pictures.

    `output` names a file if it has a file's ending and there is one case, else a folder. Nothing is written, but
    UserErrors tell what could not be: an unknown ending, a file in the way, an input that would be lost, no permission.
    """
    if ending is not None and not is_writable_ending(ending, 2):
        raise UserError(f"files ending in {ending} cannot be written; choose one of {', '.join(WRITABLE_ENDINGS)}.")
    named = ending_of(output).lower()
    many = len(cases) > 1 or (len(inputs) == 1 and inputs[0].is_dir() and cases[0].files != tuple(inputs))
    if named and not output.is_dir() and not (many and named not in ENDINGS):
        if many:
            raise UserError(f"{inputs[0]} is a folder of images, but {output} names one file; name a folder after -o.")
        if not is_writable_ending(named, 2):
            raise UserError(
                f"{output} ends in {named}, which cannot be written; choose one of {', '.join(WRITABLE_ENDINGS)}."
            )
        outputs = [output]
    else:
        if output.exists() and not output.is_dir():
            raise UserError(f"{output} is a file; name a folder after -o.")
        outputs = [output / (case.name + (ending or _default_ending(case))) for case in cases]
    sources = {path.resolve() for case in cases for path in case.files}
    for path in outputs:
        if path.resolve() in sources:
            raise UserError(f"{path} is an input and would be overwritten; name another output.")
    check_writable(outputs[0].parent)
    return outputs


def _default_ending(case: InputCase) -> str:
    return _PICTURE_FORMAT if ending_of(case.files[0]).lower() in _PICTURES else _VOLUME_FORMAT


def as_volume_file(path: Path) -> Path:
    """The same name with the ending for volumes: a .tif may turn out to be one."""
    return path.with_name(strip_ending(path) + _VOLUME_FORMAT)


def check_writable(folder: Path) -> None:
    """Raise UserError if files cannot be made in `folder`, or the folder itself cannot. Leaves nothing behind."""
    existing = folder
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise UserError(
            f"cannot write to {folder}: {error.strerror or error}; "
            "check the folder, its permissions and the free space."
        ) from error
