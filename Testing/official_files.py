"""What the authors' code leaves behind, made from a network of ours: checkpoint, plans.json and dataset.json."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from backbone_files import metas_form
from torch import Tensor

from DinoUNetCore.network.backbone import ViTConfig
from DinoUNetCore.network.dino_unet import DinoUNet
from DinoUNetCore.network.variants import Variant

SIZES = Variant(
    ViTConfig(64, 4, 4),
    (0, 1, 2, 3),
    spm_width=8,
    attention_heads=16,
    drop_path=0.0,
    fapm_rank=16,
    features=(8, 16, 16, 16),
)


def make_network(channels: int = 1, classes: int = 3, variant: Variant = SIZES, seed: int = 0) -> DinoUNet:
    """A random network whose parameters all differ from each other."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = DinoUNet(variant, channels, classes, train_backbone=False).eval()
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(0.05 * torch.rand_like(tensor))
    return network


def official_state(network: DinoUNet) -> dict[str, Tensor]:
    """Its state dict under the authors' names, with the names under which theirs holds the same storage again."""
    metas = metas_form(network.backbone, network.backbone.rope_periods)
    state = {f"encoder.dinov3_adapter.backbone.{name}": tensor for name, tensor in metas.items()}
    for name, tensor in network.state_dict().items():
        if not name.startswith("backbone."):
            name = re.sub(r"^adapter\.", "encoder.dinov3_adapter.", name)
            name = re.sub(r"^fapm\.", "encoder.fapm.", name)
            state[re.sub(r"^ups\.(\d)\.", r"encoder.ups.\1.up2.", name)] = tensor
    for name, tensor in list(state.items()):
        if name.startswith("encoder."):
            state[f"decoder.{name}"] = tensor
        elif ".convs.0.conv." in name:
            state[name.replace(".conv.", ".all_modules.0.")] = tensor
    return state


def checkpoint_of(state: dict[str, Tensor], **changes: Any) -> dict[str, Any]:
    """What nnU-Net's trainer saves around the weights, NumPy's numbers included."""
    return {
        "network_weights": state,
        "optimizer_state": {"state": {0: {"momentum_buffer": torch.zeros(3)}}, "param_groups": [{"lr": 1e-3}]},
        "grad_scaler_state": None,
        "logging": {
            "mean_fg_dice": [np.float64(0.5), np.float32(0.75)],
            "dice_per_class_or_region": [[np.float32(0.5), np.float32("nan")]],
            "epoch_start_timestamps": [1.5, 2.5],
        },
        "_best_ema": np.float64(0.625),
        "current_epoch": 200,
        "init_args": {
            "plans": plans_table(),
            "configuration": "2d",
            "fold": 0,
            "dataset_json": dataset_table(),
            "unpack_dataset": True,
            "device": torch.device("cuda"),
        },
        "trainer_name": "DinoUNetTrainer",
        "inference_allowed_mirroring_axes": (0, 1),
    } | changes


def plans_table(channels: int = 1, scheme: str = "ZScoreNormalization", **changes: Any) -> dict[str, Any]:
    """plans.json; `changes` replace entries of its 2d configuration where it has them, else of the whole."""
    statistics = {"max": 900.0, "mean": 80.5, "median": 80.0, "min": -500.0, "std": 40.25}
    statistics |= {"percentile_00_5": -100.0, "percentile_99_5": 300.0}
    settings = {
        "data_identifier": "nnUNetPlans_2d",
        "batch_size": 13,
        "patch_size": [64, 96],
        "spacing": [0.75, 1.25],
        "normalization_schemes": [scheme] * channels,
        "use_mask_for_norm": [False] * channels,
    }
    table = {
        "dataset_name": "Dataset007_Torso",
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": [5.0, 0.8, 0.8],
        "original_median_shape_after_transp": [40, 480, 512],
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {"2d": settings},
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {str(number): statistics for number in range(channels)},
    }
    settings |= {key: value for key, value in changes.items() if key in settings}
    return table | {key: value for key, value in changes.items() if key not in settings}


def dataset_table(channels: int = 1, **changes: Any) -> dict[str, Any]:
    """dataset.json."""
    return {
        "channel_names": {str(number): f"MR{number}" for number in range(channels)},
        "labels": {"background": 0, "liver": 1, "lesion": 2},
        "numTraining": 20,
        "file_ending": ".nii.gz",
    } | changes


def write(path: Path, content: Any) -> Path:
    """A .json file, or what torch saves."""
    if path.suffix == ".json":
        path.write_text(json.dumps(content), encoding="utf-8")
    else:
        torch.save(content, path)
    return path
