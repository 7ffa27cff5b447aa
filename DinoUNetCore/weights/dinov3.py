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
LICENSE_URL = "https://ai.meta.com/resources/models-and-libraries/dinov3-license/"


def load_backbone(backbone: Backbone, source: str | os.PathLike, timm_model: str | None) -> None:
    """Load public weights into `backbone`.

    source: "hub" for timm's repository of `timm_model`, or a .safetensors or .pth file with timm's or Meta's names.
    UserError when the weights cannot be had or do not fit.
    """
    path = _fetch(timm_model) if source == "hub" else Path(source)
    tensors = _read_tensors(path)
    load_backbone_tensors(backbone, tensors, str(path))


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
            f"variable {ACCEPT_LICENSE}=1 to accept it, or name a file that you have (--backbone FILE)."
        )
    try:
        return Path(hf_hub_download(repository, filename))
    except Exception as error:  # the hub library raises many kinds; each means that the file cannot be had now
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"the backbone weights {repository} cannot be downloaded ({reason}); check the network, or name a file "
            "that you have (--backbone FILE)."
        ) from error


def _read_tensors(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise UserError(f"the backbone file {path} does not exist; check the name.")
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
