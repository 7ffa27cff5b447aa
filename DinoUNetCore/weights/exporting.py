"""A bundle as one zip that travels: for a machine without internet together with the backbone that it names."""

import io
import json
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from DinoUNetCore.errors import UserError
from DinoUNetCore.files import PARTIAL, atomic_path
from DinoUNetCore.weights.backbone_folder import RECORD, BackboneRecord, FileRecord, read_record
from DinoUNetCore.weights.backbone_store import record_in
from DinoUNetCore.weights.backbone_weights import BackboneWeights, save_backbone
from DinoUNetCore.weights.bundle_files import (
    BACKBONE,
    CONFIG,
    WEIGHTS,
    BundleFiles,
    check_config,
    check_weights,
    opened,
    pack_file,
)
from DinoUNetCore.weights.license_files import (
    LARGEST_LICENSE,
    check_license_file,
    free_license_name,
    is_license,
    names_dinov3,
    stores_dinov3,
)

Opener = Callable[[str], AbstractContextManager[BinaryIO]]
"""Opens a file by its name."""


def export_bundle(
    source: str | os.PathLike,
    output: str | os.PathLike,
    backbone: BackboneWeights | None = None,
    overwrite: bool = False,
    license_file: Path | None = None,
    keep_backbone: bool = False,
) -> None:
    """Write the bundle `source` (a folder or zip) to the one zip `output`.

    backbone: the weights that the bundle names, to go into the zip with their licence; None: they stay out.
    keep_backbone: take along the backbone that lies in `source`, unless another one is given. license_file: the licence
    of the DINOv3 weights, if it does not lie beside them. Nothing is held in memory; what is large is copied from file
    to file.

    UserError, and nothing is written: an existing `output` (unless `overwrite`), a damaged bundle, other weights than
    the bundle names, DINOv3 weights without a licence, no space.
    """
    source, output = Path(source), Path(output)
    if output.suffix.lower() != ".zip":
        raise UserError(f"a model is exported to one zip; name a file that ends in .zip instead of {output}.")
    if output.exists() and not overwrite:
        raise UserError(f"{output} exists already; choose another name or add --overwrite.")
    if license_file is not None:
        check_license_file(license_file)
    with opened(source) as bundle:
        config = check_config(source, bundle.read(CONFIG))
        if stores_dinov3(config):
            _check_license(source, _has_license(bundle.names, bundle.open), license_file)
        if backbone is not None:
            _check_backbone(backbone, config, source, license_file)
        with atomic_path(output) as temporary, zipfile.ZipFile(temporary, "w") as archive:
            _pack_model(archive, bundle, config, license_file)
            if backbone is not None:
                with _backbone_folder(backbone, config, output.parent) as (folder, is_ours):
                    _pack_folder(archive, folder, config, license_file, is_ours)
            elif keep_backbone and bundle.backbone:
                _pack_own_backbone(archive, bundle, config, license_file)


def _check_license(where: Path | str, is_there: bool, license_file: Path | None) -> None:
    if not is_there and license_file is None:
        raise UserError(
            f"no LICENSE file lies beside the DINOv3 weights of {where}, and they travel with their licence only; name "
            "it by --license FILE."
        )


def _has_license(names: Iterable[str], opener: Opener) -> bool:
    """Whether one of the files holds the licence of DINOv3 weights."""
    for name in filter(is_license, names):
        with opener(name) as file:
            if names_dinov3(file.read(LARGEST_LICENSE)):
                return True
    return False


def _check_backbone(backbone: BackboneWeights, config: dict[str, Any], source: Path, license_file: Path | None) -> None:
    if config["backbone"]["stored"]:
        raise UserError(f"{source} holds its own backbone already; export it without another one.")
    _check_license(backbone.origin, bool(backbone.licenses), license_file)
    if backbone.sha256() != config["backbone"]["sha256"]:
        raise UserError(
            f"{backbone.origin} is not the backbone that {source} was trained with (the SHA-256 differs); name the "
            "file that is by --backbone FILE."
        )


def _pack_model(
    archive: zipfile.ZipFile, bundle: BundleFiles, config: dict[str, Any], license_file: Path | None
) -> None:
    for name in bundle.names:
        with bundle.open(name) as file:
            sha256 = pack_file(archive, name, file)
        if name == WEIGHTS:
            check_weights(bundle.source, sha256, config)
    if license_file is not None and stores_dinov3(config):
        with license_file.open("rb") as file:
            pack_file(archive, free_license_name(license_file, bundle.names), file)


@contextmanager
def _backbone_folder(backbone: BackboneWeights, config: dict[str, Any], place: Path) -> Iterator[tuple[Path, bool]]:
    """The weights as a backbone folder, and whether it was made here, in `place`, and may be used up."""
    lies_in = backbone.path if backbone.path.is_dir() else backbone.path.parent
    if _is_folder_of(backbone, lies_in, config["backbone"]["sha256"]):
        yield lies_in, False
        return
    with tempfile.TemporaryDirectory(prefix=PARTIAL, dir=place, ignore_cleanup_errors=True) as temporary:
        save_backbone(backbone, Path(temporary) / BACKBONE)
        yield Path(temporary) / BACKBONE, True


def _is_folder_of(backbone: BackboneWeights, folder: Path, sha256: str) -> bool:
    """Whether a folder is the backbone folder of just these weights: others' records may lie beside a file."""
    try:
        record = read_record(folder)
    except UserError:
        return False
    return record.sha256 == sha256 and {path.name for path in backbone.files} == set(record.weights)


def _pack_folder(
    archive: zipfile.ZipFile, folder: Path, config: dict[str, Any], license_file: Path | None, is_ours: bool
) -> None:
    record = replace(read_record(folder), timm_model=config["backbone"].get("name"))
    opener = _used_up if is_ours else Path.open
    _pack_backbone(archive, record, lambda name: opener(folder / name, "rb"), folder, license_file)


@contextmanager
def _used_up(path: Path, mode: str) -> Iterator[BinaryIO]:
    """An open file that is deleted afterwards, so that the disk need not hold all of them and the zip."""
    with path.open(mode) as file:
        yield file
    path.unlink()


def _pack_own_backbone(
    archive: zipfile.ZipFile, bundle: BundleFiles, config: dict[str, Any], license_file: Path | None
) -> None:
    def opener(name: str) -> BinaryIO:
        return bundle.open(f"{BACKBONE}/{name}")

    record = record_in(bundle, config)
    _check_license(bundle.source, _has_license(record.files, opener), license_file)
    _pack_backbone(archive, record, opener, bundle.source, license_file)


def _pack_backbone(
    archive: zipfile.ZipFile, record: BackboneRecord, opener: Opener, source: Path | str, license_file: Path | None
) -> None:
    """Add the files of a backbone, checked, and its record."""
    files = dict(record.files)
    for name, expected in record.files.items():
        if _pack_one(archive, name, opener(name)) != expected:
            raise UserError(f"the backbone in {source} is damaged: {name} has another SHA-256; get it again.")
    if license_file is not None:
        name = free_license_name(license_file, files)
        files[name] = _pack_one(archive, name, license_file.open("rb"))
    text = json.dumps(replace(record, files=files).to_json(), indent=2, ensure_ascii=False) + "\n"
    pack_file(archive, f"{BACKBONE}/{RECORD}", io.BytesIO(text.encode("utf-8")))


def _pack_one(archive: zipfile.ZipFile, name: str, opening: AbstractContextManager[BinaryIO]) -> FileRecord:
    with opening as file:
        sha256 = pack_file(archive, f"{BACKBONE}/{name}", file)
    return FileRecord(sha256, archive.getinfo(f"{BACKBONE}/{name}").file_size)
