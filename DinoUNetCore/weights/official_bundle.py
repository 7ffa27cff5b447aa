"""From what the authors' code leaves behind to a bundle: checkpoint_final.pth, plans.json and dataset.json."""

from pathlib import Path
from typing import Any

from DinoUNetCore.errors import UserError
from DinoUNetCore.network.variants import VARIANTS, Variant
from DinoUNetCore.weights.bundle import ModelBundle, make_config, network_tensors
from DinoUNetCore.weights.card import model_card
from DinoUNetCore.weights.license_files import licenses_in
from DinoUNetCore.weights.nnunet_plans import NnUNetPlans, read_nnunet_plans
from DinoUNetCore.weights.official import OfficialWeights
from DinoUNetCore.weights.official_checkpoint import OfficialCheckpoint, read_official_checkpoint


def make_official_bundle(
    checkpoint: str | Path,
    plans: str | Path,
    dataset: str | Path,
    name: str | None = None,
    *,
    stored: str = "axial",
    taps: tuple[int, ...] | None = None,
) -> ModelBundle:
    """The bundle of a network that the authors' code trained; its output is that of their network.

    The backbone is in it, with the licence files that lie beside the checkpoint. Its tensors stay in the checkpoint's
    file, mapped into memory, until they are used.

    Args:
        checkpoint, plans, dataset: the three files. name: of the bundle; by default data set and variant.
        stored: the plane whose slices the training's files store, which plans do not say (see `nnunet_plans`).
        taps: see `load_official_state_dict`.

    What is assumed about the slices stands among the bundle's facts about the training. UserErrors name the file.
    """
    trained = read_official_checkpoint(checkpoint)
    said = read_nnunet_plans(plans, dataset, trained.configuration, stored)
    if trained.data_set not in (None, said.data_set):
        raise UserError(
            f"{checkpoint} was trained on {trained.data_set}, but {plans} was made for {said.data_set}; give the plans "
            "of this training."
        )
    unseen = [axis for axis in said.turned if axis not in trained.mirror]
    if unseen:
        raise UserError(
            f"{checkpoint} was trained without mirroring {' and '.join(unseen)}, which run the other way in the "
            f"{said.plane} slices of this program, so that it would be shown what it never saw; it cannot be used."
        )
    try:
        weights = OfficialWeights.read(trained.weights, taps)
    except UserError as error:
        raise UserError(f"{checkpoint}: {error}") from None
    scheme = said.scheme
    if weights.num_classes != scheme.outputs:
        raise UserError(
            f"{checkpoint} has {weights.num_classes} outputs, but {dataset} names {scheme.outputs} "
            f"({', '.join(scheme.regions or scheme.labels)}); give the dataset.json of its training."
        )
    variant = _variant_name(weights.variant)
    name = name or f"{said.data_set}-{variant}"
    network = weights.mapped_network(len(said.channel_names))
    config = make_config(
        name=name,
        variant_name=variant,
        network=network,
        backbone={"name": weights.variant.timm_model, "source": "official", "trained": False, "stored": True},
        inputs=_inputs(said, trained),
        labels=scheme.described,
        regions=scheme.regions,
        training=_facts(said, trained),
        metrics={},
    )
    tensors = network_tensors(network, store_backbone=True)
    return ModelBundle(config, tensors, model_card(config), name, licenses=_licenses(Path(checkpoint)))


def _variant_name(variant: Variant) -> str:
    same = (name for name, known in VARIANTS.items() if known.timm_model and known.timm_model == variant.timm_model)
    return next(same, "custom")


def _inputs(said: NnUNetPlans, trained: OfficialCheckpoint) -> dict[str, Any]:
    return {
        "channel_names": said.channel_names,
        "dimension": said.dimension,
        "plane": said.plane,
        "unit": said.unit,
        "spacing": list(said.spacing),
        "patch_size": list(said.patch_size),
        "context_slices": 1,
        "mirror": list(trained.mirror),
        "normalization": [channel.to_json() for channel in said.normalization],
        "intensity_range": [list(limits) for limits in said.intensity_range],
        "spacing_range": [list(limits) for limits in said.spacing_range],
    }


def _facts(said: NnUNetPlans, trained: OfficialCheckpoint) -> dict[str, Any]:
    facts = {
        "data_set": said.data_set,
        "trained_by": "the authors' code (yifangao112/DinoUNet)",
        "trainer": trained.trainer,
        "fold": trained.fold,
        "epochs": trained.epochs,
        "slices": _about_slices(said, trained),
        "channels": "only the first three are used, as by the authors' code" if len(said.channel_names) > 3 else None,
    }
    return {key: value for key, value in facts.items() if value is not None}


def _about_slices(said: NnUNetPlans, trained: OfficialCheckpoint) -> str | None:
    if said.dimension == 2:
        return None
    if set(trained.mirror) == {"rows", "columns"}:
        return f"taken to be {said.plane}; their rows and columns were mirrored at random"
    return f"taken to be {said.plane}, in the order in which LPS files store them; they were not mirrored both ways"


def _licenses(checkpoint: Path) -> dict[str, str]:
    """The licences of DINOv3 weights beside the checkpoint: name -> text."""
    try:
        return {path.name: path.read_text("utf-8", errors="replace") for path in licenses_in(checkpoint.parent)}
    except OSError as error:
        raise UserError(f"cannot read the licence beside {checkpoint}: {error}; check its permissions.") from error
