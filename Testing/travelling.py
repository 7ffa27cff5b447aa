"""Backbones and bundles that name them, as they lie on a disk and travel from machine to machine."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import safetensors.torch
import torch
from random_bundle import SIZES, make_bundle

from DinoUNetCore.network.variants import VARIANTS, Variant
from DinoUNetCore.weights.bundle import ModelBundle
from DinoUNetCore.weights.bundle_files import stream_sha256
from DinoUNetCore.weights.tensors import tensors_sha256

LICENSE = "DINOv3 License (made up)\n"
TINY = replace(SIZES, timm_model="vit_small_patch16_dinov3_qkvb.made_up")
SMALL = VARIANTS["small"]


def save_named(bundle: ModelBundle, name: str, folder: Path) -> Path:
    """Save a bundle as training with a frozen public backbone does: it names it; returns the folder."""
    record = bundle.config["backbone"] | {
        "name": bundle.variant.timm_model,
        "source": "timm",
        "trained": False,
        "stored": False,
    }
    config = bundle.config | {"name": name, "backbone": record}
    config["architecture"] = config["architecture"] | {"variant": "small"}
    rest = {key: tensor for key, tensor in bundle.tensors.items() if not key.startswith("backbone.")}
    ModelBundle(config, rest, bundle.card).save(folder)
    return folder


def save_weights(bundle: ModelBundle, folder: Path, licensed: bool = True) -> Path:
    """Save the backbone of a bundle that stores it, as timm's repositories have it; returns the folder."""
    folder.mkdir(parents=True)
    state = {key: t.contiguous() for key, t in bundle.build_network().backbone.vit.state_dict().items()}
    safetensors.torch.save_file(state, folder / "model.safetensors")
    if licensed:
        (folder / "LICENSE.md").write_text(LICENSE, encoding="utf-8")
    return folder


def make_backbone_folder(folder: Path, bundle: ModelBundle, dtype: torch.dtype = torch.float32) -> Path:
    """Write the backbone of a bundle that stores it as a backbone folder, whatever its size; returns the folder."""
    save_weights(bundle, folder)
    tensors = {name: t.to(dtype) for name, t in safetensors.torch.load_file(folder / "model.safetensors").items()}
    safetensors.torch.save_file(tensors | {"rope_embed.periods": torch.ones(4)}, folder / "model.safetensors")
    write_record(folder, tensors_sha256(tensors))
    return folder


def write_record(folder: Path, sha256: str, **changes) -> None:
    """Write the backbone.json that fits the files of a folder. changes: of its entries."""
    files = {}
    for path in sorted(folder.iterdir()):
        if path.name != "backbone.json":
            with path.open("rb") as file:
                files[path.name] = {"sha256": stream_sha256(file), "bytes": path.stat().st_size}
    record = {
        "format_version": 1,
        "variant": "small",
        "timm_model": TINY.timm_model,
        "sha256": sha256,
        "origin": "made up",
        "files": files,
    }
    (folder / "backbone.json").write_text(json.dumps(record | changes), encoding="utf-8")


def make_travelling(folder: Path, name: str = "knee", seed: int = 0, variant: Variant = TINY) -> Path:
    """A small bundle that names its backbone and holds it in its sub-folder; returns the bundle's folder."""
    whole = make_bundle(seed=seed, variant=variant)
    save_named(whole, name, folder)
    make_backbone_folder(folder / "backbone", whole)
    return folder


def zipped(folder: Path) -> Path:
    """The folder as a zip beside it."""
    return Path(shutil.make_archive(str(folder), "zip", folder))
