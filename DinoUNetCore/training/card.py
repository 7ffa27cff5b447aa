"""From a finished training to a model bundle with its model card."""

from dataclasses import replace
from typing import Any

from DinoUNetCore.dataset.plan import Plan
from DinoUNetCore.network.dino_unet import DinoUNet
from DinoUNetCore.training.settings import Settings
from DinoUNetCore.volume.labels import Label
from DinoUNetCore.weights.bundle import ModelBundle, make_config, network_tensors
from DinoUNetCore.weights.dinov3 import HUB, find_backbone, is_timm_name


def make_bundle(
    network: DinoUNet, plan: Plan, settings: Settings, labels: list[Label], training: dict[str, Any]
) -> ModelBundle:
    """The bundle of a trained network, not measured yet. training: facts for the card.

    A frozen backbone that has a public name is not stored, whatever file it came from.
    """
    timm_model = network.variant.timm_model
    source = settings.backbone_source
    named = timm_model is not None and source != "random"
    stored = network.backbone.trainable or not named
    config = make_config(
        name=settings.name or f"{plan.dataset}-{settings.variant}",
        variant_name=settings.variant,
        network=network,
        backbone={
            "name": timm_model if named else None,
            "source": "timm" if source == HUB or is_timm_name(source) else "random" if source == "random" else "file",
            "trained": network.backbone.trainable,
            "stored": stored,
        },
        inputs={
            "channel_names": plan.channel_names,
            "dimension": plan.dimension,
            "plane": plan.plane,
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
        training=training,
        metrics={},
    )
    licenses = {}
    if stored and named:  # the weights are derived from public ones, whose licence goes with them
        paths = find_backbone(source, timm_model).licenses
        licenses = {path.name: path.read_text(encoding="utf-8", errors="replace") for path in paths}
    return ModelBundle(config, network_tensors(network, stored), model_card(config), config["name"], licenses)


def with_metrics(bundle: ModelBundle, metrics: dict[str, Any]) -> ModelBundle:
    """The bundle and its card with what was measured: the result of `metrics.summarise`."""
    config = {**bundle.config, "metrics": {"mean": metrics["mean"], "labels": metrics["labels"]}}
    return replace(bundle, config=config, card=model_card(config))


def model_card(config: dict[str, Any]) -> str:
    """README.md of a bundle, from its config: only what was measured, on what."""
    training, inputs, metrics = config["training"], config["input"], config["metrics"]
    where = "volumes" if inputs["dimension"] == 3 else "pictures"
    backbone, unit = config["backbone"], inputs["unit"]
    origin = " (from a file)" if backbone["name"] and backbone["source"] == "file" else ""
    lines = [
        "---",
        "library_name: dinounet-slicer",
        "tags: [medical-imaging, image-segmentation, dino-u-net]",
        "---",
        f"# {config['name']}",
        "",
        f"A Dino U-Net (arXiv 2508.20909), variant `{config['architecture']['variant']}`, that segments "
        f"{where} ({', '.join(inputs['channel_names'])}). For research only; not a medical device.",
        "",
        "## Training",
        "",
        *(f"- {key.replace('_', ' ')}: {_text(value)}" for key, value in training.items()),
        f"- backbone: {backbone['name'] or backbone['source']}{origin}, "
        f"{'trained along' if backbone['trained'] else 'frozen'}",
        f"- slices: {inputs['plane'] if inputs['dimension'] == 3 else 'as stored'}, {_text(inputs['spacing'])} {unit} "
        f"(rows, columns), patches of {_text(inputs['patch_size'])}, context {inputs['context_slices']}",
        "",
        "## Measured on the validation cases (whole images)",
        "",
    ]
    if training.get("validated_on_training_cases"):
        lines += ["**These are the training cases: the numbers say nothing about other images.**", ""]
    if metrics:
        lines += [f"| structure | Dice | HD95 ({unit}) | ASSD ({unit}) | cases |", "|---|---|---|---|---|"]
        for label in config["labels"]:
            row = metrics["labels"].get(label["name"])
            if row:
                lines.append(f"| {label['name']} | {_row(row)} | {row['cases']} |")
        lines.append(f"| mean | {_row(metrics['mean'])} | |")
    else:
        lines.append("Not measured.")
    if backbone["source"] != "random":
        lines += [
            "",
            "The backbone's weights stand under the DINOv3 License, "
            "https://ai.meta.com/resources/models-and-libraries/dinov3-license/.",
        ]
    return "\n".join([*lines, ""])


def _row(row: dict[str, Any]) -> str:
    return " | ".join("-" if row[key] is None else f"{row[key]:.{digits}f}" for key, digits in _COLUMNS)


_COLUMNS = (("dice", 3), ("hd95", 2), ("assd", 2))


def _text(value: Any) -> str:
    return " x ".join(f"{v:g}" for v in value) if isinstance(value, list | tuple) else str(value)
