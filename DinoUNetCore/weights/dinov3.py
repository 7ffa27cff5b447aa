"""Public DINOv3 backbone weights, from timm's Hugging Face repositories or from a file.

The weights stand under the DINOv3 License (https://ai.meta.com/resources/models-and-libraries/dinov3-license/), which
a user accepts before the first download.
"""

import os
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from timm.models.eva import checkpoint_filter_fn
from torch import Tensor

from DinoUNetCore.errors import UserError
from DinoUNetCore.network.backbone import Backbone
from DinoUNetCore.weights.tensors import tensors_sha256

ACCEPT_LICENSE = "DINOUNET_ACCEPT_DINOV3_LICENSE"
"""Environment variable: 1 states that the user accepts the DINOv3 License."""
BACKBONE_FILE = "DINOUNET_BACKBONE"
"""Environment variable: a file of backbone weights for bundles that name their backbone instead of storing it."""
LICENSE_URL = "https://ai.meta.com/resources/models-and-libraries/dinov3-license/"


def load_backbone(backbone: Backbone, source: str | os.PathLike, timm_model: str | None) -> None:
    """Load public weights into `backbone`.

    source: "hub" for timm's repository of `timm_model`, or a .safetensors or .pth file with timm's or Meta's names.
    UserError when the weights cannot be had or do not fit.
    """
    path = _fetch(timm_model) if source == "hub" else Path(source)
    tensors = _read_tensors(path)
    load_backbone_tensors(backbone, tensors, str(path))


def check_backbone_file(path: str | os.PathLike) -> None:
    """UserError if there is no such file."""
    if not Path(path).is_file():
        raise UserError(f"the backbone file {path} does not exist; check the name.")


def load_named_backbone(
    backbone: Backbone, file: str | os.PathLike | None, timm_model: str | None, sha256: str, bundle: str
) -> None:
    """Load the backbone that a bundle names by its SHA-256 (of `backbone_sha256`).

    It comes from `file`, else from the file in DINOUNET_BACKBONE, else from timm's repository. `bundle` is for
    messages. UserError when the weights cannot be had, do not fit or are others.
    """
    if file is None and (file := os.environ.get(BACKBONE_FILE) or None) and not Path(file).is_file():
        raise UserError(f"{BACKBONE_FILE} names the backbone file {file}, which does not exist; correct or unset it.")
    load_backbone(backbone, file or "hub", timm_model)
    if backbone_sha256(backbone) != sha256:
        raise UserError(
            f"{file or f'timm/{timm_model}'} does not hold the backbone weights that {bundle} was trained with (the "
            f"SHA-256 differs); name the file that does by --backbone FILE or {BACKBONE_FILE}."
        )


def load_backbone_tensors(backbone: Backbone, tensors: Mapping[str, Tensor], name: str) -> None:
    """Load tensors under timm's or Meta's names; Meta's RoPE periods are kept. `name` is for messages."""
    tensors = dict(tensors)
    periods = tensors.pop("rope_embed.periods", None)
    if "storage_tokens" in tensors:
        tensors = checkpoint_filter_fn(tensors, backbone.vit)
    expected = backbone.vit.state_dict()
    tensors = {key: tensor for key, tensor in tensors.items() if not key.startswith(("head.", "fc_norm."))}
    wrong = sorted(set(expected) ^ set(tensors))
    wrong += [key for key in expected if key in tensors and expected[key].shape != tensors[key].shape]
    if wrong:
        raise UserError(
            f"{name} does not hold the weights of this backbone (width {backbone.config.dim}, depth "
            f"{backbone.config.depth}): {len(wrong)} tensors differ, such as {wrong[0]}; give the file of this variant."
        )
    backbone.vit.load_state_dict(tensors)
    if periods is not None:
        backbone.rope_periods = periods


def backbone_sha256(backbone: Backbone) -> str:
    """What identifies a backbone's weights in a bundle: the tensors, without the RoPE periods."""
    return tensors_sha256(backbone.vit.state_dict())


def _fetch(timm_model: str | None) -> Path:
    if timm_model is None:
        raise UserError("this variant has no public backbone weights; train it from random ones (--backbone random).")
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    repository, filename = f"timm/{timm_model}", "model.safetensors"
    try:
        return Path(hf_hub_download(repository, filename, local_files_only=True))
    except LocalEntryNotFoundError:
        pass
    if os.environ.get(ACCEPT_LICENSE) != "1":
        raise UserError(
            f"the backbone {timm_model} stands under the DINOv3 License: read {LICENSE_URL} and set the environment "
            f"variable {ACCEPT_LICENSE}=1 to accept it, or name a file that you have by --backbone FILE."
        )
    try:
        return Path(hf_hub_download(repository, filename))
    except Exception as error:  # the hub library raises many kinds; each means that the file cannot be had now
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"the backbone weights {repository} cannot be downloaded ({reason}); check the network, or name a file "
            "that you have by --backbone FILE."
        ) from error


def _read_tensors(path: Path) -> dict[str, Tensor]:
    check_backbone_file(path)
    try:
        with open(path, "rb") as file:
            is_zip_or_pickle = file.read(2) in (b"PK", b"\x80\x02")
        if not is_zip_or_pickle:
            return safetensors.torch.load_file(path)
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, safetensors.SafetensorError, RuntimeError, EOFError, ValueError) as error:
        raise UserError(f"{path} is not a readable file of weights (.safetensors or .pth); fetch it again.") from error
    except Exception as error:  # pickle.UnpicklingError and whatever a damaged pickle stream provokes
        raise UserError(f"{path} is damaged or holds more than weights, and is not loaded; fetch it again.") from error
    if not isinstance(tensors, dict) or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise UserError(f"{path} holds no plain table of tensors; give Meta's or timm's file of backbone weights.")
    return tensors
