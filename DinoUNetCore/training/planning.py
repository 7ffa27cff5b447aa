"""What is decided before a training begins: a checked data set and its plan, from a user's settings."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from DinoUNetCore.dataset.fingerprint import Fingerprint, make_fingerprint
from DinoUNetCore.dataset.label_scheme import scheme_of
from DinoUNetCore.dataset.layout import Dataset, read_dataset
from DinoUNetCore.dataset.plan import Plan, make_plan
from DinoUNetCore.dataset.problems import Problems
from DinoUNetCore.device import choose_device, choose_precision
from DinoUNetCore.errors import UserError
from DinoUNetCore.training.device_room import DeviceRoom
from DinoUNetCore.training.pretrained import note_pretrained, open_pretrained, with_inputs_of
from DinoUNetCore.training.settings import Settings
from DinoUNetCore.weights.placement import free_memory

DECIDED_BY_PLAN = ("plane", "planes", "spacing", "patch_size", "batch_size", "context_slices")


@dataclass(frozen=True)
class Planned:
    """fingerprint: None where the plan was made, and the cases checked, before. notes: sentences for the user."""

    dataset: Dataset
    plan: Plan
    fingerprint: Fingerprint | None
    notes: list[str]


def plan_training(
    settings: Settings,
    kept_plan: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    processes: int = 1,
) -> Planned:
    """Find the data set, check all its cases, and make the plan or take the one that is named.

    kept_plan: the plan of a training that goes on, if that file exists; its cases are not read again.
    `progress(done, total)` counts cases. processes: that will train together. UserErrors: all that is wrong with the
    data set, together; a plan that does not fit it.
    """
    problems = Problems()
    dataset = read_dataset(settings.dataset, settings.groups, problems)
    if kept_plan is not None and kept_plan.exists():
        problems.refuse()
        plan = Plan.load(kept_plan)
        return Planned(dataset, plan, None, plan.check_against(dataset))
    bundle = open_pretrained(settings) if settings.pretrained else None  # before cases are read, which takes long
    if settings.plan:
        problems.refuse()
        return _with_plan_of_user(settings, dataset, progress)
    fingerprint = make_fingerprint(
        dataset, progress, resample_channels=settings.resample_channels, problems=problems
    )
    taken: list[str] = []
    if bundle is not None:
        dimension = next(iter(fingerprint.cases.values())).dimension
        settings, taken = with_inputs_of(bundle, settings, dataset, dimension)
    plan = make_plan(
        dataset,
        fingerprint,
        settings.variant,
        plane=settings.plane,
        planes=settings.planes,
        seed=settings.seed,
        batch_size=settings.batch_size,
        spacing=list(settings.spacing) if settings.spacing else None,
        patch_size=list(settings.patch_size) if settings.patch_size else None,
        context_slices=settings.context_slices,
        room=_room(settings, dataset, processes),
    )
    if bundle is not None:
        note_pretrained(plan, bundle, settings.pretrained, taken)
    return Planned(dataset, plan, fingerprint, plan.check_against(dataset, fingerprint))


def _with_plan_of_user(settings: Settings, dataset: Dataset, progress: Callable[[int, int], None] | None) -> Planned:
    for name in DECIDED_BY_PLAN:
        if getattr(settings, name) != getattr(Settings, name):
            raise UserError(f"--{name.replace('_', '-')} is decided by {settings.plan}; change it there instead.")
    plan = Plan.load(settings.plan)
    plan.check_against(dataset)
    used = {name for fold in plan.folds for name in fold}
    fingerprint = make_fingerprint(
        replace(dataset, cases=[case for case in dataset.cases if case.name in used]),
        progress,
        unit=plan.unit,
        resample_channels=settings.resample_channels,
    )
    return Planned(dataset, plan, fingerprint, plan.check_against(dataset, fingerprint))


def _room(settings: Settings, dataset: Dataset, processes: int) -> DeviceRoom | None:
    """The memory of the GPU to train on; None on a CPU, where time is short before memory is."""
    device = choose_device(settings.device)
    if device.type == "cpu":
        return None
    precision = choose_precision(settings.precision, device)
    return DeviceRoom(
        free_memory(device),
        settings.variant,
        scheme_of(dataset).outputs,
        settings.train_backbone,
        precision,
        processes,
        settings.shard_backbone,
    )
