"""The folder of a cross-validation: RUN/fold_0, fold_1, ..., each a training of its own, by one plan."""

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from DinoUNetCore.dataset.layout import read_dataset
from DinoUNetCore.dataset.plan import Plan
from DinoUNetCore.errors import UserError
from DinoUNetCore.files import atomic_path, read_json, remove_partial
from DinoUNetCore.training.case_overlays import find_predictions
from DinoUNetCore.training.fold_summary import FoldResult
from DinoUNetCore.training.processes import began_in_this_launch
from DinoUNetCore.training.settings import FREE_ON_RESUME, Settings

PLAN, FINGERPRINT, METRICS = "plan.json", "fingerprint.json", "metrics.json"
_OWN = {"fold", "name", *FREE_ON_RESUME}  # may differ between folds


@dataclass(frozen=True)
class Folds:
    """given: the settings that a user chose. begun: the numbers of folds whose training has begun. common: the settings
    of the others, which are those of the folds that have begun, if any.
    """

    given: dict[str, Any]
    begun: set[int]
    common: dict[str, Any]

    def settings(self, fold: int) -> dict[str, Any]:
        """What to train a fold with."""
        if fold in self.begun:  # it has its own, of which little may change
            return {key: value for key, value in self.given.items() if key != "name"} | {"fold": fold}
        return self.common | {"fold": fold}


def fold_folder(folder: Path, fold: int) -> Path:
    return folder / f"fold_{fold}"


def begun_folds(folder: Path) -> dict[int, Path]:
    """The folds in RUN whose training has begun, by number."""
    found = {}
    for path in folder.glob("fold_*/settings.json"):
        number = path.parent.name.removeprefix("fold_")
        if number.isdecimal():
            found[int(number)] = path.parent
    return dict(sorted(found.items()))


def open_folder(given: Mapping[str, Any], folder: Path, resume: bool) -> Folds:
    """Check RUN, and say what its folds are to be trained with. What a killed process left half-written is removed.

    given: the settings that a user chose, without "fold". What was trained as a single fold before counts as begun, and
    its plan becomes that of all; a finished fold whose predictions are missing is measured again.

    UserError: a data set of one case; a RUN that holds something else, or folds and `resume` is False (what torchrun
    starts anew always goes on), or folds that do not belong together.
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
    if folder.exists() and any(folder.iterdir()) and not resume:
        if begun:
            raise UserError(f"{folder} holds trained folds already; add --resume to go on, or name another folder.")
        raise UserError(f"{folder} holds other files; name a new folder for the cross-validation.")
    if len(read_dataset(given["dataset"], given.get("groups")).cases) < 2:
        raise UserError(f"{given['dataset']} has one case, which cannot be cross-validated; add more.")
    if folder.exists():
        remove_partial(folder)
    if not begun:
        return Folds(dict(given), set(), dict(given))
    common = _common_settings(given, begun)
    _share_plan(folder, begun)
    for fold, path in begun.items():
        _forget_unmeasured(path, folder / PLAN, fold)
    return Folds(dict(given), set(begun), common)


def _begun_folds(folder: Path) -> dict[int, Path]:
    """The folds in RUN whose training has begun, by number."""
    found = {}
    for path in folder.glob("fold_*/settings.json"):
        number = path.parent.name.removeprefix("fold_")
        if number.isdecimal():
            found[int(number)] = path.parent
    return dict(sorted(found.items()))


def _common_settings(given: Mapping[str, Any], begun: Mapping[int, Path]) -> dict[str, Any]:
    """The settings of folds that have begun, which are the same but for what may differ. UserError if they are not."""
    asked = {key: value for key, value in given.items() if key != "name"}
    settings = {}
    for fold, path in begun.items():
        one = Settings.load(path / "settings.json")
        if one.fold != fold:
            raise UserError(f"{path} is a training of fold {one.fold}; rename it to fold_{one.fold}.")
        settings[fold] = one.resumed_with(asked, path)
    first = min(settings)
    for fold, one in settings.items():
        if differing := _differing(settings[first], one):
            raise UserError(
                f"{begun[fold]} was trained with another {', '.join(differing)} than {begun[first]}; remove one of "
                "them, and it is trained again."
            )
    name = given.get("name", settings[first].name)
    return {key: value for key, value in asdict(settings[first]).items() if key != "fold"} | {"name": name}


def _differing(first: Settings, other: Settings) -> list[str]:
    """The options by which two folds differ and must not."""
    ours, theirs = (asdict(replace(s, dataset=str(Path(s.dataset).resolve()))) for s in (first, other))
    return ["--" + name.replace("_", "-") for name in ours if name not in _OWN and ours[name] != theirs[name]]


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


def read_fold(folder: Path, fold: int) -> FoldResult:
    """What a finished fold measured. UserError if it is not there."""
    run = fold_folder(folder, fold)
    metrics, config = read_json(run / METRICS), read_json(run / "bundle" / "config.json")
    return FoldResult(fold, metrics["cases"], config["training"])
