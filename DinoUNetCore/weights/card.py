"""The model card: README.md of a bundle, from its config. It states only what was measured, on what."""

from collections.abc import Mapping
from typing import Any

from DinoUNetCore.weights import license

_COLUMNS = (("dice", 3), ("hd95", 2), ("assd", 2))


def model_card(config: Mapping[str, Any], curves: str | None = None) -> str:
    """Markdown, with the front matter that the Hugging Face Hub reads. curves: name of a picture beside the card."""
    lines = [
        "---",
        "library_name: dinounet-slicer",
        "pipeline_tag: image-segmentation",
        "tags: [medical-imaging, image-segmentation, dino-u-net]",
        "---",
        f"# {config['name']}",
        "",
        _summary(config),
        "",
        *_section("How to use", _usage(config)),
        *_section("Structures", _structures(config["labels"])),
        *_section("Training", _training(config)),
        *([f"![Loss and Dice over the epochs]({curves})", ""] if curves else []),
        *_section("Measured on the validation cases (whole images)", _measured(config)),
    ]
    if config["backbone"]["source"] != "random":
        lines += _section("Licence", _licence(config["backbone"]))
    return "\n".join(lines)


def _section(title: str, lines: list[str]) -> list[str]:
    return [f"## {title}", "", *lines, ""]


def _summary(config: Mapping[str, Any]) -> str:
    inputs = config["input"]
    where = "volumes" if inputs["dimension"] == 3 else "pictures"
    return (
        f"A Dino U-Net ([arXiv 2508.20909](https://arxiv.org/abs/2508.20909)), variant "
        f"`{config['architecture']['variant']}`, that segments {where} ({', '.join(inputs['channel_names'])}). "
        "For research only; not a medical device."
    )


def _usage(config: Mapping[str, Any]) -> list[str]:
    channels = len(config["input"]["channel_names"])
    scan = "SCAN" if channels == 1 else " ".join(f"CHANNEL{number}" for number in range(1, channels + 1))
    return [
        "In 3D Slicer: module *Dino U-Net*, *Model > ...*, add this folder, its zip or its Hugging Face name; choose a "
        "scan; *Segment*. Without Slicer:",
        "",
        f"    python -m DinoUNetCore.segment -m MODEL -i {scan} -o OUTPUT.seg.nrrd",
        "",
        "where MODEL is this folder, its zip, or `hf:owner/name`.",
    ]


def _structures(labels: list[Mapping[str, Any]]) -> list[str]:
    rows = ["| value | structure | code |", "|---|---|---|"]
    for label in labels:
        kind = (label.get("terminology") or {}).get("type") or {}
        code = f"{kind['scheme']} {kind['value']} ({kind['meaning']})" if kind else ""
        rows.append(f"| {label['value']} | {label['name']} | {code} |")
    return rows


def _origin(config: Mapping[str, Any]) -> list[str]:
    """How the network came about, beyond one training."""
    ensemble, kept = config.get("ensemble"), config.get("postprocessing", {}).get("keep_largest", [])
    lines = []
    if ensemble:
        lines.append(f"- ensemble: the mean of the logits of {ensemble['members']} networks")
    if kept:
        lines.append(f"- of these structures only the largest piece is kept: {', '.join(kept)}")
    return lines


def _training(config: Mapping[str, Any]) -> list[str]:
    inputs, backbone = config["input"], config["backbone"]
    origin = " (from a file)" if backbone["name"] and backbone["source"] == "file" else ""
    planes = inputs.get("planes", [inputs["plane"]])
    slices = " and ".join(planes) if inputs["dimension"] == 3 else "as stored"
    warning = "**Warning: the backbone is random and was not trained: this model is good for tests only.**"
    useless = backbone["source"] == "random" and not backbone["trained"]
    return [
        *([warning, ""] if useless else []),
        *(f"- {key.replace('_', ' ')}: {_text(value)}" for key, value in config["training"].items()),
        f"- backbone: {backbone['name'] or backbone['source']}{origin}, "
        f"{'trained along' if backbone['trained'] else 'frozen'}",
        f"- slices: {slices}, {_text(inputs['spacing'])} {inputs.get('unit', 'mm')} (rows, columns), patches of "
        f"{_text(inputs['patch_size'])}, context {inputs['context_slices']}",
        *_origin(config),
    ]


def _measured(config: Mapping[str, Any]) -> list[str]:
    metrics, unit = config["metrics"], config["input"].get("unit", "mm")
    if not metrics:
        return ["Not measured."]
    lines = [f"| structure | Dice | HD95 ({unit}) | ASSD ({unit}) | cases |", "|---|---|---|---|---|"]
    if config["training"].get("validated_on_training_cases"):
        lines = ["**These are the training cases: the numbers say nothing about other images.**", "", *lines]
    if config.get("ensemble"):
        note = (
            "Every case was segmented by the one network that had not seen it in training, not by all together. Each "
            "network's best epoch was chosen by its Dice on the same cases, which flatters these numbers a little."
        )
        lines = [note, "", *lines]
    for label in config["labels"]:
        if row := metrics["labels"].get(label["name"]):
            lines.append(f"| {label['name']} | {_row(row)} | {row['cases']} |")
    return [*lines, f"| mean | {_row(metrics['mean'])} | |"]


def _licence(backbone: Mapping[str, Any]) -> list[str]:
    part = "are part of this model" if backbone["stored"] else "are not part of this model, and are downloaded apart"
    return [f"The backbone's weights {part}. They stand under the [{license.NAME}]({license.URL})."]


def _row(row: Mapping[str, Any]) -> str:
    return " | ".join("-" if row[key] is None else f"{row[key]:.{digits}f}" for key, digits in _COLUMNS)


def _text(value: Any) -> str:
    return " x ".join(f"{v:g}" for v in value) if isinstance(value, list | tuple) else str(value)
