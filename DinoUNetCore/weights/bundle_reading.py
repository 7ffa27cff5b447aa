"""Reading a ModelBundle: from a folder, a zip, the Hugging Face Hub, or by the name of an embedded or own model."""

import hashlib
import io
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch

from DinoUNetCore.errors import UserError
from DinoUNetCore.weights import backbone_store, library
from DinoUNetCore.weights.bundle import ModelBundle
from DinoUNetCore.weights.bundle_files import (
    BACKBONE,
    CARD,
    CONFIG,
    CURVES,
    FORMAT_VERSION,
    WEIGHTS,
    BundleFiles,
    opened,
    reading_problems,
    safe_archive,
)
from DinoUNetCore.weights.models_folder import workshop
from DinoUNetCore.weights.tensor_files import TensorFiles
from DinoUNetCore.weights.tensors import file_sha256

_HUB = "hf:"


def load_bundle(source: str | os.PathLike, backbone: str | os.PathLike | None = None) -> ModelBundle:
    """Read a bundle: a folder, a zip, "hf:owner/name", or the name of one that is embedded or in the user's library.

    backbone: a file with the weights of a backbone that the bundle names and does not store; it is read when the
    network is built. Without it they come from the bundle's folder "backbone", if it travelled with one (out of a zip
    it is kept in the library), else from the file that DINOUNET_BACKBONE names, or from the hub.

    UserError when there is none, when it is damaged, of an unknown version, or its hash is wrong.
    """
    bundle = _read(source)
    return replace(bundle, backbone_file=backbone or bundle.backbone_file)


def _read(source: str | os.PathLike) -> ModelBundle:
    text = os.fspath(source)
    if text.startswith(_HUB):
        from DinoUNetCore.weights.hub import fetch_bundle

        return _read_files(fetch_bundle(text.removeprefix(_HUB)), text)
    path = Path(text)
    if not path.exists() and len(path.parts) == 1:
        path = next((entry.path for entry in library.list_entries() if entry.name == text), path)
    if not path.exists():
        known = ", ".join(entry.name for entry in library.list_entries())
        raise UserError(f"there is no model bundle {text}; give a bundle's folder or zip, or one of: {known}.")
    return _read_files(path, text)


def _read_files(path: Path, source: str) -> ModelBundle:
    with reading_problems(source), opened(path) as files:
        if files.archive is None:
            return _read_folder(path, files, source)
        return _read_archive(files, source)


def _read_folder(folder: Path, files: BundleFiles, source: str) -> ModelBundle:
    config = _config(files.read(CONFIG))
    _check(file_sha256(folder / WEIGHTS), config, source)
    tensors = TensorFiles(folder / WEIGHTS, only_safetensors=True)
    bundle = ModelBundle(config, tensors, **_rest(files, source))
    return replace(bundle, backbone_file=folder / BACKBONE) if files.backbone and not bundle.stores_backbone else bundle


def _read_archive(files: BundleFiles, source: str) -> ModelBundle:
    config = _config(files.read(CONFIG))
    with files.open(WEIGHTS) as file:
        weights = file.read()
    _check(hashlib.sha256(weights).hexdigest(), config, source)
    bundle = ModelBundle(config, safetensors.torch.load(weights), **_rest(files, source))
    if files.backbone and not bundle.stores_backbone:
        with workshop() as temporary, backbone_store.receiving(files, config, temporary):
            pass  # kept in the library: it is found there by its SHA-256
    return bundle


def unpack_bundle(archive: bytes | bytearray, source: str) -> ModelBundle:
    """Read a bundle from the bytes of a zip with its files at the top; nothing is written to disk.

    UserErrors as those of `load_bundle`; `source` is for them.
    """
    with reading_problems(source), safe_archive(io.BytesIO(archive), source) as file:
        return _read_archive(BundleFiles(Path(source), file.namelist(), [], file), source)


def _config(data: bytes) -> dict[str, Any]:
    config = json.loads(data.decode("utf-8"))
    if config.get("format_version") == FORMAT_VERSION and not isinstance(config["weights"]["sha256"], str):
        raise ValueError(f"{CONFIG} states no SHA-256 of {WEIGHTS}")
    return config


def _check(sha256: str, config: dict[str, Any], source: str) -> None:
    if config.get("format_version") == FORMAT_VERSION and sha256 != config["weights"]["sha256"]:
        raise UserError(f"{source} is damaged: the SHA-256 of {WEIGHTS} is not the one in {CONFIG}; get it again.")


def _rest(files: BundleFiles, source: str) -> dict[str, Any]:
    """What belongs to a bundle beside its config and weights, by the names of its fields."""
    others = {name for name in files.names if name not in (CONFIG, WEIGHTS)}
    curves = None
    if CURVES in others:
        with files.open(CURVES) as file:
            curves = file.read()
    texts = {name: files.read(name).decode("utf-8", "replace") for name in sorted(others - {CURVES})}
    return {"card": texts.pop(CARD, ""), "source": source, "licenses": texts, "curves": curves}
