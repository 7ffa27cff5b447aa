"""Fine-tuning: a training that begins with the weights of a bundle, for the same, fewer or other structures.

All weights are taken over but those of the last 1x1 convolutions, of which a structure takes those with its name: new
ones begin at random, missing ones are dropped. The plan takes over how images are presented to the network, because
weights that know structures at one scale are worth less at another.
"""

import math
from dataclasses import replace
from pathlib import Path

import torch

from DinoUNetCore.dataset.layout import Dataset
from DinoUNetCore.dataset.plan import Plan
from DinoUNetCore.dataset.plan_checks import PATCH_MULTIPLE, SMALLEST_PATCH_SIDE
from DinoUNetCore.dataset.planning import choose_unit
from DinoUNetCore.errors import UserError
from DinoUNetCore.network.dino_unet import DinoUNet
from DinoUNetCore.network.variants import VARIANTS, Variant
from DinoUNetCore.training.settings import Settings
from DinoUNetCore.volume.label_scheme import LabelScheme
from DinoUNetCore.weights import library
from DinoUNetCore.weights.backbone_weights import BackboneWeights
from DinoUNetCore.weights.bundle import ModelBundle
from DinoUNetCore.weights.bundle_files import CONFIG, check_config, digest, opened
from DinoUNetCore.weights.bundle_reading import load_bundle
from DinoUNetCore.weights.dinov3 import HUB, named_backbone
from DinoUNetCore.weights.hub import HUB_PREFIX, fetch_bundle

HEADS = "decoder.seg_layers."
BACKGROUND = ""  # its output goes by no name, as data sets call it differently


def open_pretrained(settings: Settings) -> ModelBundle:
    """The bundle that `settings.pretrained` names. UserErrors: none, an ensemble, another variant's sizes."""
    bundle = load_bundle(settings.pretrained)
    if bundle.members is not None:
        raise UserError(
            f"{settings.pretrained} is an ensemble of {bundle.members} networks, and a training begins with one; name "
            "the bundle of one fold, such as RUN/fold_0/bundle."
        )
    if _sizes(bundle.variant) != _sizes(VARIANTS[settings.variant]):
        same = [name for name, variant in VARIANTS.items() if _sizes(variant) == _sizes(bundle.variant)]
        advice = f"add --variant {same[0]}" if same else "it is none that can be trained; name another bundle"
        raise UserError(f"{settings.pretrained} does not have the sizes of the variant {settings.variant}; {advice}.")
    return bundle


def is_needed(settings: Settings, folder: Path | None) -> bool:
    """Whether a training needs the bundle that `settings.pretrained` names, if it names one.

    folder: RUN. Where it has a checkpoint, the training goes on with the weights in there. Of the bundle it then needs
    the backbone alone, if that is frozen or made from public weights, whose origin and licences the bundle knows.
    """
    if settings.pretrained is None:
        return False
    in_checkpoint = VARIANTS[settings.variant].timm_model is None and settings.train_backbone is not False
    return not (in_checkpoint and has_checkpoint(folder))


def has_checkpoint(folder: Path | None) -> bool:
    """Whether a training in RUN has come far enough to go on from there."""
    return folder is not None and (folder / "checkpoints" / "last.safetensors").exists()


def pretrained_of_run(settings: Settings, folder: Path | None) -> ModelBundle | None:
    """The bundle that a training in RUN begins or goes on with; None if it needs none. UserErrors as above."""
    if not is_needed(settings, folder):
        return None
    try:
        return open_pretrained(settings)
    except UserError as error:
        if not has_checkpoint(folder):
            raise
        raise UserError(
            f"the training in {folder} goes on with the backbone of {settings.pretrained}, which cannot be had "
            f"({str(error).rstrip('.')}); if the bundle has moved, name it anew by --pretrained."
        ) from error


def identify_pretrained(settings: Settings) -> dict[str, str]:
    """{"name", "config_sha256", "weights_sha256"} of the bundle, by which it is known. UserError if it is gone."""
    text = settings.pretrained
    path = fetch_bundle(text.removeprefix(HUB_PREFIX)) if text.startswith(HUB_PREFIX) else library.find(text)
    with opened(path, text) as files:
        data = files.read(CONFIG)
    config = check_config(text, data)
    return {
        "name": config["name"], "config_sha256": digest(data), "weights_sha256": config["weights"]["sha256"]
    }  # fmt: skip


# its plan --------------------------------------------------------------------------------------------------------


def with_inputs_of(
    bundle: ModelBundle, settings: Settings, dataset: Dataset, dimension: int
) -> tuple[Settings, list[str]]:
    """The settings in which the bundle decides what a user has not, and which fields of the plan these are.

    dimension: 2 for pictures, 3 for volumes. UserError where the network has no input for the data set's channels.
    """
    channels = len(dataset.channel_names)
    context = bundle.in_channels // channels
    if context * channels != bundle.in_channels or context not in ((1, 3) if dimension == 3 else (1,)):
        slices = f" in {bundle.context_slices} slices" if bundle.context_slices > 1 else ""
        raise UserError(
            f"the network of {settings.pretrained} takes {bundle.in_channels} images ({', '.join(bundle.channel_names)}"
            f"{slices}), which {dataset.folder} cannot give with its channels ({', '.join(dataset.channel_names)}); "
            "name another bundle."
        )
    if settings.context_slices not in (None, context):
        raise UserError(
            f"--context-slices {settings.context_slices} does not suit {settings.pretrained}, whose network needs "
            f"{context} here; leave it out."
        )
    taken = {"context_slices": context}
    suits_planes = settings.planes is None or bundle.spacing[0] == bundle.spacing[1]  # one for slices of all planes
    if settings.spacing is None and choose_unit(dataset, dimension)[0] == bundle.unit and suits_planes:
        taken["spacing"] = bundle.spacing
    if settings.patch_size is None:
        taken["patch_size"] = tuple(
            max(SMALLEST_PATCH_SIDE, PATCH_MULTIPLE * math.ceil(side / PATCH_MULTIPLE)) for side in bundle.patch_size
        )
    if settings.plane == "finest" and settings.planes is None and dimension == bundle.dimension == 3:
        taken["planes"] = tuple(bundle.planes)
    return replace(settings, **taken), list(taken)


def note_pretrained(plan: Plan, bundle: ModelBundle, source: str, taken: list[str]) -> None:
    """Put into a plan that it follows the bundle, and the numbers of CT, whose units are the same everywhere."""
    for channel, theirs in enumerate(bundle.normalization[: len(plan.normalization)]):
        if plan.normalization[channel].scheme == theirs.scheme == "ct":
            plan.normalization[channel] = theirs
            taken = [*taken, "normalization"]
    for field in taken:
        plan.reasons[field] = f"As in {source}, with whose weights the training begins."
    if [name.casefold() for name in bundle.channel_names] != [name.casefold() for name in plan.channel_names]:
        plan.warnings.append(
            f"{source} was trained on {', '.join(bundle.channel_names)}; this data set has "
            f"{', '.join(plan.channel_names)}."
        )


# its network -----------------------------------------------------------------------------------------------------


def pretrained_backbone(bundle: ModelBundle, settings: Settings) -> BackboneWeights | None:
    """The public weights that the bundle names; None if it stores its backbone. UserError where they cannot be had."""
    if bundle.stores_backbone:
        if settings.backbone is not None:
            raise UserError(
                f"{settings.pretrained} stores its backbone, with which the training begins; leave out --backbone."
            )
        return None
    file = bundle.backbone_file if settings.backbone in (None, HUB) else settings.backbone
    return named_backbone(file, bundle.variant.timm_model, bundle.config["backbone"]["sha256"])


def load_pretrained(network: DinoUNet, bundle: ModelBundle, scheme: LabelScheme) -> str:
    """Put the bundle's weights into a network whose public backbone, if it has one, is loaded already.

    scheme: of the network's outputs. Returns a sentence on what was taken over. UserErrors: another backbone, another
    number of input channels, a damaged bundle.
    """
    if network.in_channels != bundle.in_channels:
        raise UserError(
            f"the network of {bundle.source} takes {bundle.in_channels} images, but the plan gives it "
            f"{network.in_channels} (channels times context_slices); correct the plan or name another bundle."
        )
    record, backbone = bundle.config["backbone"], network.backbone
    if bundle.stores_backbone:
        backbone.loaded_record, backbone.loaded_licenses = record, dict(bundle.licenses)
    elif backbone.loaded_sha256 != record["sha256"]:
        raise UserError(
            f"the backbone's weights are not those that {bundle.source} was trained with (the SHA-256 differs); name "
            "the file that holds them by --backbone FILE."
        )
    if record.get("rope_periods") is not None:
        backbone.rope_periods = torch.tensor(record["rope_periods"])
    ours, theirs = output_names(scheme.names, scheme.regions), output_names(*_described(bundle))
    rows = [(ours.index(name), theirs.index(name)) for name in ours if name in theirs]
    places = network.state_dict()
    expected = {name for name in places if bundle.stores_backbone or not name.startswith("backbone.")}
    if wrong := sorted(expected ^ set(bundle.tensors)):
        raise UserError(f"{bundle.source} is damaged: its tensors do not fit ({wrong[0]}); get the bundle again.")
    for name in sorted(expected):
        tensor, place = bundle.tensors[name], places[name]
        if name.startswith(HEADS):
            for row, other in rows:
                place[row].copy_(tensor[other])
        elif tensor.shape == place.shape:
            place.copy_(tensor)
        else:
            raise UserError(f"{bundle.source} is damaged: its tensors do not fit ({name}); get the bundle again.")
    return _sentence(bundle.source, ours, theirs)


def output_names(names: list[str], regions: object) -> list[str]:
    """What a network's outputs stand for, in their order, as they are compared: capitals do not count."""
    compared = [name.strip().casefold() for name in names]
    return compared if regions else [BACKGROUND, *compared]


def _described(bundle: ModelBundle) -> tuple[list[str], object]:
    return [label.name for label in bundle.labels], bundle.config.get("regions")


def _sentence(source: str, ours: list[str], theirs: list[str]) -> str:
    kept, new = ([name for name in ours if name and (name in theirs) == known] for known in (True, False))
    dropped = [name for name in theirs if name and name not in ours]
    parts = [("kept", kept), ("new", new), ("dropped", dropped)]
    told = "; ".join(f"{what}: {', '.join(names)}" for what, names in parts if names)
    return f"The training begins with the weights of {source} (structures {told})."


def _sizes(variant: Variant) -> Variant:
    """The sizes alone: other public weights make no other network."""
    return replace(variant, timm_model=None)
