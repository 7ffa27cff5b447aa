"""Where the public weights of a DINOv3 backbone come from, and how they get into the network."""

import os
from pathlib import Path

import torch
from torch import Tensor

from DinoUNetCore.errors import UserError
from DinoUNetCore.network.backbone import Backbone, default_rope_periods
from DinoUNetCore.weights.backbone_weights import BackboneWeights
from DinoUNetCore.weights.tensors import TensorDigest, assign_tensor, tensors_sha256
from DinoUNetCore.weights.timm_names import is_timm_name

HUB = "hub"
BACKBONE_FILE = "DINOUNET_BACKBONE"
"""Environment variable: a file of backbone weights for bundles that name their backbone instead of storing it."""
_TOKENS = ("cls_token", "reg_token")


def find_backbone(
    source: str | os.PathLike, timm_model: str | None, sha256: str | None = None, progress=None
) -> BackboneWeights:
    """The public weights that `source` names.

    source: "hub", or a file or folder of any form (see `BackboneWeights`), or the name of other weights that timm has
    ("vit_large_patch16_dinov3_qkvb.sat493m"). For "hub" those of `timm_model` are taken from the hub's cache, or from
    the library if they were imported there, or are downloaded. sha256: those that are wanted, if known.
    progress(done, total) in bytes while they are downloaded.

    UserError when they cannot be had.
    """
    from DinoUNetCore.weights import backbone_store, hub

    if not comes_from_hub(source):
        return BackboneWeights(source)
    name = timm_model if source == HUB else str(source)
    if name is None:
        raise UserError("this variant has no public backbone weights; train it from random ones (--backbone random).")
    # Only a hash proves what is in the library: without one the hub's own weights come first.
    stored, cached = backbone_store.find(sha256) if sha256 else None, hub.cached_backbone(name)
    if stored is None and cached is None and sha256 is None:
        stored = backbone_store.find_named(name)
    folder = stored or cached or hub.fetch_backbone(name, progress)
    weights = BackboneWeights(folder)
    weights.origin = f"timm/{name}" if stored is None else f"{name}, imported into {folder}"
    return weights


def comes_from_hub(source: str | os.PathLike) -> bool:
    """Whether a source of weights is "hub" or timm's name, and not a file or folder."""
    return source == HUB or (is_timm_name(os.fspath(source)) and not Path(source).exists())


def check_backbone_file(path: str | os.PathLike) -> None:
    """UserError if this is a file or folder that does not exist."""
    if not Path(path).exists() and not comes_from_hub(path):
        raise UserError(f"the backbone file {path} does not exist; check the name.")


def named_backbone(
    file: str | os.PathLike | None, timm_model: str | None, sha256: str, progress=None
) -> BackboneWeights:
    """The backbone that a bundle names: from `file`, else from the file in DINOUNET_BACKBONE, else as for "hub"."""
    if file is None and (file := os.environ.get(BACKBONE_FILE) or None) and not Path(file).exists():
        raise UserError(f"{BACKBONE_FILE} names the backbone file {file}, which does not exist; correct or unset it.")
    return find_backbone(file or HUB, timm_model, sha256, progress)


def load_backbone(
    backbone: Backbone,
    weights: BackboneWeights,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> None:
    """Put public weights into `backbone` (which may be on the meta device), and their SHA-256.

    Tensor by tensor: from the file to `device`, matrices in `dtype`, the rest in float32, which gives the same numbers
    as float32 matrices under autocast. The file's RoPE periods are kept, else they are computed.

    UserError when they do not fit.
    """
    weights.check(backbone.config)
    digest = TensorDigest()
    for name, tensor in weights.tensors():
        digest.update(name, tensor)
        assign_tensor(backbone.vit, name, in_compute_dtype(name, tensor, dtype).to(device))
    fill_buffers(backbone, weights.periods, device)
    backbone.loaded_sha256, backbone.loaded_licenses = digest.hexdigest(), read_licenses(weights)


def read_licenses(weights: BackboneWeights) -> dict[str, str]:
    """The texts of the licences beside the weights, by file name."""
    return {path.name: path.read_text(encoding="utf-8", errors="replace") for path in weights.licenses}


def in_compute_dtype(name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """A tensor of a backbone in the dtype in which it is kept for computing in `dtype`."""
    is_matrix = tensor.ndim > 1 and name not in _TOKENS
    return tensor.to(dtype if is_matrix else torch.float32)


def fill_buffers(backbone: Backbone, periods: Tensor | None, device: torch.device | str) -> None:
    """What files of weights lack: RoPE periods (those given, or those that DINOv3 computes), the keys' zero biases."""
    for name, buffer in backbone.vit.named_buffers():
        if name.endswith(".k_bias"):
            assign_tensor(backbone.vit, name, torch.zeros(buffer.shape, device=device))
    backbone.rope_periods = (default_rope_periods(backbone.config) if periods is None else periods).to(device)


def backbone_sha256(backbone: Backbone) -> str:
    """What identifies a backbone's weights in a bundle: the float32 tensors, without the RoPE periods."""
    if backbone.loaded_sha256 and not backbone.trainable:
        return backbone.loaded_sha256
    return tensors_sha256(backbone.vit.state_dict())
