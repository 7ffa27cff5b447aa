"""From a finished training to a model bundle."""

from dataclasses import replace
from typing import Any

from DinoUNetCore.dataset.plan import Plan
from DinoUNetCore.network.dino_unet import DinoUNet
from DinoUNetCore.training.settings import Settings
from DinoUNetCore.volume.labels import Label
from DinoUNetCore.weights.bundle import ModelBundle, make_config, network_tensors
from DinoUNetCore.weights.bundle_files import CURVES
from DinoUNetCore.weights.card import model_card
from DinoUNetCore.weights.dinov3 import comes_from_hub


def make_bundle(
    network: DinoUNet, plan: Plan, settings: Settings, labels: list[Label], training: dict[str, Any]
) -> ModelBundle:
    """The bundle of a trained network, not measured yet. training: facts for the card.

    A frozen backbone that has a public name is not stored, whatever file it came from.
    """
    backbone = _backbone_record(network, settings)
    config = make_config(
        name=settings.name or f"{plan.dataset}-{settings.variant}",
        variant_name=settings.variant,
        network=network,
        backbone=backbone,
        inputs={
            "channel_names": plan.channel_names,
            "dimension": plan.dimension,
            "plane": plan.plane,
            "planes": plan.planes,
            "unit": plan.unit,
            "spacing": plan.spacing,
            "patch_size": plan.patch_size,
            "context_slices": plan.context_slices,
            "mirror": plan.mirror,
            "normalization": [channel.to_json() for channel in plan.normalization],
            "intensity_range": plan.intensity_range,
            "spacing_range": plan.spacing_range,
        },
        labels=labels,
        regions=plan.regions,
        training=training,
        metrics={},
    )
    stored = backbone["stored"]
    licenses = network.backbone.loaded_licenses if stored else {}  # stored weights are derived from the public ones
    return ModelBundle(config, network_tensors(network, stored), model_card(config), config["name"], licenses)


def _backbone_record(network: DinoUNet, settings: Settings) -> dict[str, Any]:
    """What the bundle says of its backbone: the public weights that it is or was made from, and whether it holds it."""
    trained, before = network.backbone.trainable, network.backbone.loaded_record
    if before is not None:  # it began with another bundle's own backbone
        origin = {name: before[name] for name in ("name", "source")}
        return {**origin, "trained": trained or before["trained"], "stored": True}
    timm_model, source = network.variant.timm_model, settings.backbone_source
    named = timm_model is not None and source != "random"
    return {
        "name": timm_model if named else None,
        "source": "random" if source == "random" else "timm" if comes_from_hub(source) else "file",
        "trained": trained,
        "stored": trained or not named,
    }


def with_metrics(bundle: ModelBundle, metrics: dict[str, Any], curves: bytes | None = None) -> ModelBundle:
    """The bundle and its card with what was measured: the result of `metrics.summarise`, and curves as a PNG."""
    config = {**bundle.config, "metrics": {"mean": metrics["mean"], "labels": metrics["labels"]}}
    card = model_card(config, CURVES if curves else None)
    return replace(bundle, config=config, card=card, curves=curves)
