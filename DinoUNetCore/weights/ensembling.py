"""Several bundles as one: their networks become the members of an ensemble, which segments in one pass."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor

from DinoUNetCore.errors import UserError
from DinoUNetCore.weights.bundle import MOST_MEMBERS, ModelBundle
from DinoUNetCore.weights.bundle_files import FORMAT_VERSION
from DinoUNetCore.weights.card import model_card

_SHARED = "backbone."


def ensemble(
    bundles: Sequence[ModelBundle],
    name: str | None = None,
    *,
    training: Mapping[str, Any] | None = None,
) -> ModelBundle:
    """A bundle whose network gives the mean of the logits of all these. Tensors are read when they are asked for.

    Backbones with the same SHA-256 are one: it is stored or named once, as the first bundle does, and runs once.
    name: None: the first one's. training: facts for the card; None: the first one's. It has no metrics.

    UserError where the bundles have other inputs, labels or variants, or are ensembles themselves.
    """
    if not 1 <= len(bundles) <= MOST_MEMBERS:
        raise UserError(f"an ensemble has 1 to {MOST_MEMBERS} members, not {len(bundles)}; name as many bundles.")
    first = bundles[0]
    for bundle in bundles:
        _check_fits(bundle, first)
    records = [bundle.config["backbone"] for bundle in bundles]
    shares = len({(record["sha256"], str(record["rope_periods"])) for record in records}) == 1
    if not shares:
        _check_stored(bundles)
    config = {
        **{key: value for key, value in first.config.items() if key != "weights"},
        "format_version": FORMAT_VERSION,
        "name": name or first.name,
        "backbone": records[0] if shares else {**records[0], "sha256": _sha256_of_all(records)},
        "ensemble": {"members": len(bundles), "shares_backbone": shares},
        "training": dict(first.config["training"] if training is None else training),
        "metrics": {},
    }
    tensors = _MembersTensors([bundle.tensors for bundle in bundles], shares)
    licenses = {file: text for bundle in reversed(bundles) for file, text in bundle.licenses.items()}
    return ModelBundle(
        config, tensors, model_card(config), config["name"], licenses, backbone_file=first.backbone_file
    )


class _MembersTensors(Mapping[str, Tensor]):
    """The tensors of all members as `Ensemble.state_dict` names them; those of a shared backbone are the first's."""

    def __init__(self, members: Sequence[Mapping[str, Tensor]], shares_backbone: bool):
        self._places: dict[str, tuple[Mapping[str, Tensor], str]] = {}
        for index, tensors in enumerate(members):
            for name in tensors:
                if not (shares_backbone and name.startswith(_SHARED)):
                    self._places[f"members.{index}.{name}"] = (tensors, name)
                elif index == 0:
                    self._places[name] = (tensors, name)

    def __getitem__(self, name: str) -> Tensor:
        tensors, own_name = self._places[name]
        return tensors[own_name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def _check_fits(bundle: ModelBundle, first: ModelBundle) -> None:
    if bundle.members is not None:
        raise UserError(f"{bundle.source} is an ensemble itself; name the bundles of its members instead.")
    differing = [
        words
        for key, words in (
            ("architecture", "network"),
            ("input", "input"),
            ("labels", "labels"),
            ("regions", "regions"),
            ("postprocessing", "postprocessing"),
        )
        if bundle.config.get(key) != first.config.get(key)
    ]
    if differing:
        raise UserError(
            f"{bundle.source} and {first.source} cannot be one ensemble: they differ in {', '.join(differing)}; name "
            "bundles that were trained by one plan."
        )


def _check_stored(bundles: Sequence[ModelBundle]) -> None:
    for bundle in bundles:
        if not bundle.stores_backbone:
            raise UserError(
                f"{bundle.source} names its backbone, and it is not that of the other members (the SHA-256 differs); "
                "name bundles with the same backbone, or with backbones that were trained along."
            )
    if len({str(bundle.config["backbone"]["rope_periods"]) for bundle in bundles}) > 1:
        raise UserError(
            f"the backbones of {bundles[0].source} and of the other members have other RoPE periods; name bundles "
            "whose backbones began as the same."
        )


def _sha256_of_all(records: Sequence[Mapping[str, Any]]) -> str:
    """What stands for backbones that are stored apart: the SHA-256 over theirs, one a line."""
    return hashlib.sha256("\n".join(record["sha256"] for record in records).encode()).hexdigest()
