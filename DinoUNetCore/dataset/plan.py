"""The plan: every choice that training makes about a data set, as JSON that a user may read, edit and pass back."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from DinoUNetCore.dataset.absent_classes import absent_classes
from DinoUNetCore.dataset.fingerprint import Fingerprint
from DinoUNetCore.dataset.folds import make_folds
from DinoUNetCore.dataset.label_scheme import scheme_of
from DinoUNetCore.dataset.layout import Dataset
from DinoUNetCore.dataset.mirroring import mirror_axes
from DinoUNetCore.dataset.plan_checks import VERSION, check_field, check_plan
from DinoUNetCore.dataset.planning import (
    Room,
    choose_batch_size,
    choose_normalization,
    choose_unit,
    cut_cases,
    fit_into_room,
    limit_batch_size,
)
from DinoUNetCore.dataset.planning_of_planes import (
    choose_context_slices_of_planes,
    choose_patch_size_of_planes,
    choose_planes,
    choose_spacing_of_planes,
    stretched_planes,
)
from DinoUNetCore.dataset.readable_json import write_readable_json
from DinoUNetCore.errors import UserError
from DinoUNetCore.files import read_json
from DinoUNetCore.volume.intensity import ChannelNormalization
from DinoUNetCore.volume.label_scheme import LabelScheme


@dataclass
class Plan:
    """How a data set is trained on.

    dimension: 2 for pictures, 3 for volumes.
    planes: of geometry.PLANES, one or several; one network is trained on slices of all (without meaning for pictures).
    unit: what lengths count in, of geometry.UNITS ("pixel": a pixel of a picture is 1 x 1, whatever its file says).
    spacing: [row, column] in this unit to which slices are resampled; of several planes the same number twice.
    patch_size: [rows, columns] in pixels at that spacing.
    context_slices: 1, or 3 where the neighbouring slices fill the network's three channels.
    mirror: what training mirrors, a subset of ["rows", "columns"].
    labels, regions, ignore: as in `LabelScheme`; `labels` is ordered by value.
    intensity_range: per channel [0.5, 99.5] percentiles of the voxels of all cases, as stored.
    spacing_range: [least, most] in this unit between slices, rows and columns of the cases, cut in the first plane,
        before resampling.
    folds: per fold the cases to validate on; cases in no fold are not used.
    warnings: what a user should know before training. reasons: per field why it is so.
    """

    dataset: str
    variant: str
    dimension: int
    planes: list[str]
    unit: str
    spacing: list[float]
    patch_size: list[int]
    batch_size: int
    context_slices: int
    normalization: list[ChannelNormalization]
    mirror: list[str]
    channel_names: list[str]
    labels: dict[str, int]
    intensity_range: list[list[float]]
    spacing_range: list[list[float]]
    folds: list[list[str]]
    regions: dict[str, list[int]] | None = None
    ignore: int | None = None
    warnings: list[str] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)

    @property
    def plane(self) -> str:
        """The first of the planes, in which `spacing_range` is measured."""
        return self.planes[0]

    def training_and_validation(self, fold: int) -> tuple[list[str], list[str]]:
        """The names of the cases to train and to validate on. With one fold only they are the same cases."""
        if not 0 <= fold < len(self.folds):
            raise UserError(f"there is no fold {fold}; the plan has the folds 0 to {len(self.folds) - 1}.")
        validation = sorted(self.folds[fold])
        training = sorted(name for number, names in enumerate(self.folds) if number != fold for name in names)
        return (training or validation), validation

    @property
    def validates_on_training_cases(self) -> bool:
        """Whether there is nothing unseen to validate on."""
        return len(self.folds) == 1

    def check_against(self, dataset: Dataset, fingerprint: Fingerprint | None = None) -> list[str]:
        """Check that the plan was made for this data set. Returns sentences about what is allowed but noteworthy, other
        than the plan's warnings; with the fingerprint also about classes that folds lack.

        UserErrors: other channels or labels, folds with cases that the data set does not have.
        """
        if self.channel_names != dataset.channel_names:
            raise UserError(
                f"the plan is for the channels {', '.join(self.channel_names)}, but {dataset.folder} has "
                f"{', '.join(dataset.channel_names)}; make a new plan."
            )
        ours, theirs = scheme_of(self), scheme_of(dataset)
        if (ours.structures, ours.labels, ours.names) != (theirs.structures, theirs.labels, theirs.names):
            raise UserError(
                f"the plan is for the labels {_listed(ours)}, but {dataset.folder} has {_listed(theirs)}; make a new "
                "plan."
            )
        group_of = {case.name: case.group for case in dataset.cases}
        unknown = [name for fold in self.folds for name in fold if name not in group_of]
        if unknown:
            raise UserError(
                f"folds in the plan name the case {unknown[0]!r}, which {dataset.folder} does not have; correct the "
                "folds or make a new plan."
            )
        absent = absent_classes(self.folds, self.labels, fingerprint.cases) if fingerprint else []
        return [*self._notes(group_of), *(note for note in map(_sentence, absent) if note not in self.warnings)]

    def _notes(self, group_of: dict[str, str]) -> list[str]:
        notes = []
        fold_of = {name: number for number, fold in enumerate(self.folds) for name in fold}
        unused = sorted(set(group_of) - set(fold_of))
        if unused:
            notes.append(f"{len(unused)} case(s) are in no fold of the plan and not used, such as {unused[0]}.")
        folds_of_group: dict[str, set[int]] = {}
        for name, number in fold_of.items():
            folds_of_group.setdefault(group_of[name], set()).add(number)
        split = sorted(group for group, folds in folds_of_group.items() if len(folds) > 1)
        if split:
            notes.append(
                f"{len(split)} group(s), such as {split[0]}, have cases in several folds: they train and validate."
            )
        return notes

    def to_json(self) -> dict[str, Any]:
        table = {"version": VERSION, **vars(self)}
        table["normalization"] = [channel.to_json() for channel in self.normalization]
        return table

    @classmethod
    def from_json(cls, table: Any, source: str = "the plan") -> "Plan":
        """The inverse of `to_json`. UserErrors name `source` and the field that is wrong."""
        if isinstance(table, dict):
            if "planes" not in table and "plane" in table:  # as in plans that knew of one only
                table = {("planes" if name == "plane" else name): value for name, value in table.items()}
                table["planes"] = [table["planes"]]
            table = {"unit": "mm", "regions": None, "ignore": None, **table}  # the only ones in the first plans
        check_plan(table, source)
        fields = {name: value for name, value in table.items() if name != "version"}
        fields["normalization"] = [ChannelNormalization.from_json(entry) for entry in table["normalization"]]
        fields["labels"] = dict(sorted(table["labels"].items(), key=lambda item: item[1]))
        return cls(**fields)

    def save(self, path: str | Path) -> None:
        write_readable_json(path, self.to_json())

    @classmethod
    def load(cls, path: str | Path) -> "Plan":
        """Read and check a plan that `save` wrote and someone may have edited."""
        return cls.from_json(read_json(path), str(path))


def make_plan(
    dataset: Dataset,
    fingerprint: Fingerprint,
    variant: str,
    *,
    plane: str = "finest",
    planes: Sequence[str] | None = None,
    seed: int = 12345,
    batch_size: int | None = None,
    spacing: list[float] | None = None,
    patch_size: list[int] | None = None,
    context_slices: int | None = None,
    room: Room | None = None,
) -> Plan:
    """Choose everything from the fingerprint, except what is given. UserError where a given value cannot be.

    plane: of geometry.PLANES, or "finest". planes: several, in place of `plane`.
    room: the memory of the device to train on, which patch and batch are to fit; None: any will do.
    """
    check_field("variant", variant, "the options")
    asked_for = {"batch_size": batch_size, "patch_size": patch_size, "context_slices": context_slices}
    if planes is not None:
        asked_for["planes"] = list(planes)
    for name, value in asked_for.items():
        if value is not None:
            check_field(name, list(value) if isinstance(value, tuple) else value, "the options")
    dimension = next(iter(fingerprint.cases.values())).dimension
    grids = [case.grid for case in fingerprint.cases.values()]
    reasons = {"dimension": "the cases are pictures" if dimension == 2 else "the cases are volumes"}
    planes, reasons["planes"] = choose_planes(grids, plane, planes)
    unit, reasons["unit"] = choose_unit(dataset, dimension)
    cuts_in = {name: cut_cases(grids, name, unit) for name in planes}
    cuts = [cut for cuts in cuts_in.values() for cut in cuts]
    spacing, reasons["spacing"] = choose_spacing_of_planes(cuts_in, unit, variant, spacing)
    context, reasons["context_slices"] = choose_context_slices_of_planes(
        cuts_in, dimension, len(dataset.channel_names), context_slices
    )
    patch, reason = choose_patch_size_of_planes(cuts_in, spacing, variant, patch_size)
    limited = room is not None and batch_size is None
    if limited:
        inputs = len(dataset.channel_names) * context
        patch, reason, fits = fit_into_room(patch, reason, room, inputs, shrink=patch_size is None)
    reasons["patch_size"] = reason
    batch, reason = choose_batch_size(cuts, spacing, patch, variant, batch_size)
    if limited:
        batch, reason = limit_batch_size(batch, reason, fits, room)
    reasons["batch_size"] = reason
    normalization, reasons["normalization"] = choose_normalization(dataset, fingerprint)
    mirror, reasons["mirror"] = mirror_axes(
        [name for name, value in dataset.labels.items() if value != 0],
        {cut.row_axis for cut in cuts},
        {cut.column_axis for cut in cuts},
    )
    folds = make_folds(dataset.cases, seed)
    reasons["intensity_range"] = "0.5 and 99.5 percentiles of the voxels of all cases, kept to warn about unlike images"
    reasons["spacing_range"] = (
        f"least and most distance ({unit}) of slices, rows and columns in all cases, kept to warn about unlike images"
    )
    reasons["folds"] = folds.reason
    warnings = stretched_planes(cuts_in) if dimension == 3 else []
    warnings += [] if folds.warning is None else [folds.warning]
    warnings += absent_classes(folds.validation, dataset.labels, fingerprint.cases)
    plan = Plan(
        dataset=dataset.name,
        variant=variant,
        dimension=dimension,
        planes=planes,
        unit=unit,
        spacing=spacing,
        patch_size=patch,
        batch_size=batch,
        context_slices=context,
        normalization=normalization,
        mirror=mirror,
        channel_names=list(dataset.channel_names),
        labels=dict(dataset.labels),
        regions=dataset.regions,
        ignore=dataset.ignore,
        intensity_range=[[channel.image_low, channel.image_high] for channel in fingerprint.channels],
        spacing_range=[_range([cut.spacing[axis] for cut in cuts_in[planes[0]]]) for axis in range(3)],
        folds=folds.validation,
        warnings=[_sentence(text) for text in warnings],
        reasons={name: _sentence(text) for name, text in reasons.items()},
    )
    check_plan(plan.to_json(), "the plan")
    return plan


def _range(values: list[float]) -> list[float]:
    return [float(f"{min(values):.6g}"), float(f"{max(values):.6g}")]


def _listed(scheme: LabelScheme) -> str:
    written = f", written as {scheme.written}" if scheme.regions else ""
    return ", ".join(f"{name} {value}" for name, value in scheme.structures.items()) + written


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".") + "."
