"""The folder of a cross-validation: RUN/fold_0, fold_1, ..., each a training of its own, by one plan."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from DinoUNetCore.dataset.layout import read_dataset
from DinoUNetCore.dataset.plan import Plan
from DinoUNetCore.errors import UserError
from DinoUNetCore.files import PARTIAL, atomic_path, read_json, remove_partial
from DinoUNetCore.training.case_overlays import find_predictions
from DinoUNetCore.training.fold_summary import FoldResult
from DinoUNetCore.training.processes import began_in_this_launch
from DinoUNetCore.training.settings import FREE_ON_RESUME, Settings

PLAN, FINGERPRINT, METRICS = "plan.json", "fingerprint.json", "metrics.json"
_OWN = {"fold", "name", *FREE_ON_RESUME}  # may differ between folds
# What a cross-validation may have left in RUN, beside its folds.
_LEFT = {PLAN, FINGERPRINT, "prepared", "crossval.json", "crossval.png", "cases.png", "report.html", "bundle"}


@dataclass(frozen=True)
class Folds:
    """begun: by the numbers of the folds whose training has begun, the settings to go on with. common: the settings of
    the others, which are those of the folds that have begun, if any. notes: sentences for the user.
    """

    begun: dict[int, dict[str, Any]]
    common: dict[str, Any]
    notes: list[str] = field(default_factory=list)

    def settings(self, fold: int) -> dict[str, Any]:
        """What to train a fold with."""
        return self.begun.get(fold, self.common) | {"fold": fold}


def fold_folder(folder: Path, fold: int) -> Path:
    return folder / f"fold_{fold}"


def open_folder(given: Mapping[str, Any], folder: Path, resume: bool) -> Folds:
    """Check RUN, and say what its folds are to be trained with. What a killed process left half-written is removed.

    given: the settings that a user chose, without "fold". What was trained as a single fold before counts as begun, and
    its plan becomes that of all, and so does the largest number of epochs; a finished fold whose predictions are
    missing is measured again.

    UserError: a data set of one case, or a plan of one fold; a RUN that holds something else, or folds and `resume` is
    False (what torchrun starts anew always goes on), or folds that do not belong together.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; name a new folder for the cross-validation.")
    if (folder / "settings.json").exists():
        raise UserError(
            f"{folder} holds the training of one fold; name another folder RUN, or move it to RUN/fold_N, where N is "
            "its fold, and add --resume."
        )
    begun = _begun_folds(folder)
    resume = resume or any(began_in_this_launch(path / "settings.json") for path in begun.values())
    if begun and not resume:
        raise UserError(f"{folder} holds trained folds already; add --resume to go on, or name another folder.")
    if not begun and folder.exists() and not all(resume and _is_left(path) for path in folder.iterdir()):
        raise UserError(f"{folder} holds other files; name a new folder for the cross-validation.")
    if len(read_dataset(given["dataset"], given.get("groups")).cases) < 2:
        raise UserError(f"{given['dataset']} has one case, which cannot be cross-validated; add more.")
    if folder.exists():
        remove_partial(folder)
    folds = _go_on(given, begun) if begun else Folds({}, dict(given))
    _share_plan(folder, begun)
    _check_unseen(folder / PLAN, folds.common.get("plan"))
    for fold, path in begun.items():
        _forget_unmeasured(path, folder / PLAN, fold)
    return folds


def _begun_folds(folder: Path) -> dict[int, Path]:
    """The folds in RUN whose training has begun, by number."""
    found = {}
    for path in folder.glob("fold_*/settings.json"):
        number = path.parent.name.removeprefix("fold_")
        if number.isdecimal():
            found[int(number)] = path.parent
    return dict(sorted(found.items()))


def _is_left(path: Path) -> bool:
    return path.name in _LEFT or path.name.startswith(("fold_", PARTIAL))


def _check_unseen(kept: Path, chosen: str | None) -> None:
    """UserError if the plan, that in RUN or the one that a user chose, leaves nothing unseen to measure."""
    path = kept if kept.exists() else chosen
    if path is not None and Plan.load(path).validates_on_training_cases:
        raise UserError(
            f"{path} has one fold, whose cases are trained and validated on, so nothing unseen would be measured; "
            "share its cases out to two folds or more, or leave the cross-validation out and train once."
        )


def _go_on(given: Mapping[str, Any], begun: Mapping[int, Path]) -> Folds:
    """How to go on with folds that have begun: their settings are the same but for what may differ, or it is a
    UserError. Where one is longer (a longer training was begun, and ended before it came to all), all become so.
    """
    asked = {fold: {key: value for key, value in given.items() if key != "name"} for fold in begun}
    settings = {}
    for fold, path in begun.items():
        one = Settings.load(path / "settings.json")
        if one.fold != fold:
            place = path.with_name(f"fold_{one.fold}")
            todo = f"move it out of {path.parent}" if place.exists() else f"rename it to {place.name}"
            raise UserError(f"{path} is a training of fold {one.fold}; {todo}.")
        settings[fold] = one.resumed_with(asked[fold], path)
    most, notes = max(one.epochs_asked for one in settings.values()), []
    for fold, one in settings.items():
        if one.epochs_asked < most:
            asked[fold]["epochs"] = most
            settings[fold] = one.resumed_with({"epochs": most}, begun[fold])
            notes = [f"All folds are trained for {most} epochs, as the longest of them."]
    first = min(settings)
    for fold, one in settings.items():
        if differing := _differing(settings[first], one):
            raise UserError(
                f"{begun[fold]} was trained with another {', '.join(differing)} than {begun[first]}; remove one of "
                "them, and it is trained again."
            )
    name = given.get("name", settings[first].name)
    common = {key: value for key, value in asdict(settings[first]).items() if key != "fold"} | {"name": name}
    return Folds(asked, common, notes)


def _differing(first: Settings, other: Settings) -> list[str]:
    """The options by which two folds differ and must not."""
    ours, theirs = (
        asdict(replace(one, dataset=str(Path(one.dataset).resolve()), epochs=one.epochs_asked))
        for one in (first, other)
    )
    moved = {"pretrained"} if ours["pretrained"] and theirs["pretrained"] else set()  # each manifest knows which it is
    return ["--" + name.replace("_", "-") for name in ours if name not in _OWN | moved and ours[name] != theirs[name]]


def _share_plan(folder: Path, begun: Mapping[int, Path]) -> None:
    """Take the plan of a fold for all, where RUN has none yet. UserError where folds have different ones."""
    planned = [path for path in begun.values() if (path / PLAN).is_file()]
    if planned and not (folder / PLAN).exists():
        for name in (FINGERPRINT, PLAN):  # the plan last: where it is, all is there
            if (planned[0] / name).is_file():
                with atomic_path(folder / name) as temporary:
                    shutil.copyfile(planned[0] / name, temporary)
    for path in planned:
        if _decided(path / PLAN) != _decided(folder / PLAN):
            raise UserError(
                f"{path} was trained by another plan than {folder / PLAN} says; remove this fold, and it is trained "
                "again."
            )


def _decided(path: Path) -> Plan:
    return replace(Plan.load(path), warnings=[], reasons={})


def _forget_unmeasured(run: Path, plan: Path, fold: int) -> None:
    """Let a finished fold be measured again, where predictions of its validation cases are missing."""
    if plan.exists() and (run / METRICS).exists():
        _, validation = Plan.load(plan).training_and_validation(fold)
        if len(find_predictions(run / "validation", validation)) < len(validation):
            (run / METRICS).unlink()


@contextmanager
def told_how_to_measure_again(run: Path) -> Iterator[None]:
    """UserErrors on what a finished fold left in its folder also say how to get it again."""
    try:
        yield
    except UserError as error:
        raise UserError(
            f"{error} To measure this fold again, remove {run / METRICS} and go on with --resume."
        ) from error


def read_fold(folder: Path, fold: int) -> FoldResult:
    """What a finished fold measured. UserError if it is not there, or damaged."""
    run = fold_folder(folder, fold)
    with told_how_to_measure_again(run):
        metrics, config = read_json(run / METRICS), read_json(run / "bundle" / "config.json")
        for file, table, key in ((METRICS, metrics, "cases"), ("bundle/config.json", config, "training")):
            if not isinstance(table, dict) or not isinstance(table.get(key), dict):
                raise UserError(f"{run / file} is damaged.")
    return FoldResult(fold, metrics["cases"], config["training"])
