"""Reading a ModelBundle: from a folder, a zip, the Hugging Face Hub, or by the name of an embedded or own model."""

import io
import os
from dataclasses import replace
from typing import Any

from DinoUNetCore.errors import UserError
from DinoUNetCore.weights import backbone_store, library
from DinoUNetCore.weights.bundle import ModelBundle
from DinoUNetCore.weights.bundle_files import (
    BACKBONE,
    CARD,
    CONFIG,
    CURVES,
    WEIGHTS,
    BundleFiles,
    check_config,
    check_weights,
    digest,
    opened,
    opened_archive,
)
from DinoUNetCore.weights.hub import HUB_PREFIX, fetch_bundle
from DinoUNetCore.weights.models_folder import workshop
from DinoUNetCore.weights.tensor_files import TensorFiles
from DinoUNetCore.weights.tensor_stream import read_tensors
from DinoUNetCore.weights.tensors import file_sha256


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
    is_remote = text.startswith(HUB_PREFIX)
    path = fetch_bundle(text.removeprefix(HUB_PREFIX)) if is_remote else library.find(text)
    with opened(path, text) as files:
        return _read_folder(files, text) if files.archive is None else _read_archive(files, text)


def _read_folder(files: BundleFiles, source: str) -> ModelBundle:
    config, folder = check_config(source, files.read(CONFIG)), files.path
    check_weights(source, file_sha256(folder / WEIGHTS), config)
    tensors = TensorFiles(folder / WEIGHTS, only_safetensors=True)
    bundle = ModelBundle(config, tensors, **_rest(files, source))
    return replace(bundle, backbone_file=folder / BACKBONE) if files.backbone and not bundle.stores_backbone else bundle


def _read_archive(files: BundleFiles, source: str) -> ModelBundle:
    config = check_config(source, files.read(CONFIG))
    try:
        with files.open(WEIGHTS) as file:
            tensors, sha256 = read_tensors(file, files.size(WEIGHTS))
    except ValueError as error:
        raise UserError(f"{source} is no model or is damaged ({WEIGHTS}: {error}); get it again.") from error
    check_weights(source, sha256, config)
    bundle = ModelBundle(config, tensors, **_rest(files, source))
    if files.backbone and not bundle.stores_backbone:
        with workshop() as temporary:  # kept in the library: it is found there by its SHA-256
            backbone_store.receive(files, config, temporary)
    return bundle


def unpack_bundle(archive: bytes | bytearray, source: str) -> ModelBundle:
    """Read a bundle from the bytes of a zip; nothing is written to disk, so that a backbone in it is left out.

    UserErrors as those of `load_bundle`; `source` is for them.
    """
    with opened_archive(io.BytesIO(archive), source) as files:
        return _read_archive(replace(files, backbone=[]), source)


def _rest(files: BundleFiles, source: str) -> dict[str, Any]:
    """What belongs to a bundle beside its config and weights, by the names of its fields."""
    others = {name for name in files.names if name not in (CONFIG, WEIGHTS)}
    curves = None
    if CURVES in others:
        with files.open(CURVES) as file:
            curves = file.read()
    texts = {name: files.read(name).decode("utf-8", "replace") for name in sorted(others - {CURVES})}
    card, sha256 = texts.pop(CARD, ""), digest(files.read(CONFIG))
    return {"card": card, "source": source, "licenses": texts, "curves": curves, "sha256": sha256}
