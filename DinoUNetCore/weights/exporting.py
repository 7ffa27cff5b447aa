"""A bundle as one zip that travels: for a machine without internet together with the backbone that it names."""

import io
import json
import os
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from DinoUNetCore.errors import UserError
from DinoUNetCore.files import PARTIAL, atomic_path
from DinoUNetCore.weights.backbone_folder import RECORD, BackboneRecord, FileRecord, read_record
from DinoUNetCore.weights.backbone_weights import BackboneWeights, save_backbone
from DinoUNetCore.weights.bundle_files import (
    BACKBONE,
    CONFIG,
    WEIGHTS,
    BundleFiles,
    check_config,
    is_license,
    opened,
    pack_file,
    reading_problems,
)


def export_bundle(
    source: str | os.PathLike,
    output: str | os.PathLike,
    backbone: BackboneWeights | None = None,
    overwrite: bool = False,
    license_file: Path | None = None,
) -> None:
    """Write the bundle `source` (a folder or zip) to the one zip `output`.

    backbone: the weights that the bundle names, to go into the zip with their licence; None: they stay out.
    license_file: their licence, if it does not lie beside them. Nothing is held in memory; what is large is copied
    from file to file.

    UserError, and nothing is written: an existing `output` (unless `overwrite`), a damaged bundle, other weights than
    the bundle names, weights without a licence, no space.
    """
    source, output = Path(source), Path(output)
    if output.suffix.lower() != ".zip":
        raise UserError(f"a model is exported to one zip; name a file that ends in .zip instead of {output}.")
    if output.exists() and not overwrite:
        raise UserError(f"{output} exists already; choose another name or add --overwrite.")
    with reading_problems(source), opened(source) as bundle:
        config = check_config(source, bundle.read(CONFIG))
        if backbone is not None:
            _check_backbone(backbone, config, source, license_file)
        with atomic_path(output) as temporary, zipfile.ZipFile(temporary, "w") as archive:
            _pack_model(archive, bundle, config)
            if backbone is not None:
                with _backbone_folder(backbone, output.parent) as (folder, is_ours):
                    _pack_backbone(archive, folder, license_file, remove=is_ours)


def _check_backbone(
    backbone: BackboneWeights, config: dict[str, Any], source: Path, license_file: Path | None
) -> None:
    if config["backbone"]["stored"]:
        raise UserError(f"{source} holds its own backbone already; export it without another one.")
    if license_file is not None and not license_file.is_file():
        raise UserError(f"the licence file {license_file} does not exist; check the name.")
    if license_file is None and not backbone.licenses:
        raise UserError(
            f"no LICENSE file lies beside {backbone.origin}, and DINOv3 weights travel with their licence only; name "
            "it by --license FILE."
        )
    if backbone.sha256() != config["backbone"]["sha256"]:
        raise UserError(
            f"{backbone.origin} is not the backbone that {source} was trained with (the SHA-256 differs); name the "
            "file that is by --backbone FILE."
        )


def _pack_model(archive: zipfile.ZipFile, bundle: BundleFiles, config: dict[str, Any]) -> None:
    for name in bundle.names:
        with bundle.open(name) as file:
            sha256 = pack_file(archive, name, file)
        if name == WEIGHTS and sha256 != config["weights"]["sha256"]:
            raise UserError(
                f"{bundle.path} is damaged: the SHA-256 of {WEIGHTS} is not the one in {CONFIG}; get it again."
            )


@contextmanager
def _backbone_folder(backbone: BackboneWeights, place: Path) -> Iterator[tuple[Path, bool]]:
    """The weights as a backbone folder, and whether it was made here, in `place`, and may be used up."""
    lies_in = backbone.path if backbone.path.is_dir() else backbone.path.parent
    if (lies_in / RECORD).is_file():
        yield lies_in, False
        return
    with tempfile.TemporaryDirectory(prefix=PARTIAL, dir=place, ignore_cleanup_errors=True) as temporary:
        save_backbone(backbone, Path(temporary) / BACKBONE)
        yield Path(temporary) / BACKBONE, True


def _pack_backbone(archive: zipfile.ZipFile, folder: Path, license_file: Path | None, remove: bool) -> None:
    """Add a backbone folder. remove: delete each file that is in the zip, so that the disk need not hold all twice."""
    record = read_record(folder)
    for name, expected in record.files.items():
        if _pack_one(archive, name, folder / name) != expected:
            raise UserError(f"the backbone in {folder} is damaged: {name} has another SHA-256; get it again.")
        if remove:
            (folder / name).unlink()
    if license_file is not None:
        name = license_file.name if is_license(license_file.name) else f"LICENSE{license_file.suffix}"
        if name not in record.files:
            record.files[name] = _pack_one(archive, name, license_file)
    _pack_record(archive, record)


def _pack_one(archive: zipfile.ZipFile, name: str, path: Path) -> FileRecord:
    with path.open("rb") as file:
        return FileRecord(pack_file(archive, f"{BACKBONE}/{name}", file), path.stat().st_size)


def _pack_record(archive: zipfile.ZipFile, record: BackboneRecord) -> None:
    text = json.dumps(record.to_json(), indent=2, ensure_ascii=False) + "\n"
    pack_file(archive, f"{BACKBONE}/{RECORD}", io.BytesIO(text.encode("utf-8")))
