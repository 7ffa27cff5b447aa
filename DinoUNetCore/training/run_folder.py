"""A run's folder: what a training keeps where, and whether one may begin or go on there."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from DinoUNetCore.dataset.plan import Plan
from DinoUNetCore.errors import UserError
from DinoUNetCore.files import read_json, remove_partial
from DinoUNetCore.training.planning import Planned
from DinoUNetCore.training.processes import began_in_this_launch
from DinoUNetCore.training.settings import FREE_ON_RESUME, Settings


@dataclass(frozen=True)
class RunFolder:
    """path: the folder RUN. shared: the folder that holds plan.json, fingerprint.json and prepared/ for several runs,
    the folds of one cross-validation; None: RUN itself does. What is missing there is made there.
    """

    path: Path
    shared: Path | None = None

    @property
    def home(self) -> Path:
        """Where plan, fingerprint and prepared cases are."""
        return self.shared or self.path

    @property
    def plan(self) -> Path:
        return self.home / "plan.json"

    @property
    def prepared(self) -> Path:
        return self.home / "prepared"

    @property
    def settings(self) -> Path:
        return self.path / "settings.json"

    @property
    def metrics(self) -> Path:
        """Written last: a training that has it is finished."""
        return self.path / "metrics.json"

    def open(self, given: dict[str, Any], resume: bool) -> Settings:
        """The settings of the training that is to begin or go on here. Nothing is written; what a killed process left
        half-written is removed.

        given: what a user chose, by the names of `Settings`. UserErrors: the folder holds something else, or a training
        and `resume` is False, or one with other settings. What torchrun starts anew always goes on.
        """
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"{self.path} is a file; name a new folder for the run.")
        if self.settings.exists():
            if not resume and not began_in_this_launch(self.settings):
                raise UserError(f"{self.path} holds a training already; add --resume to go on, or name another folder.")
            settings = Settings.load(self.settings).resumed_with(given, self.path)
            remove_partial(self.path)
            return settings
        if self.path.exists() and any(self.path.iterdir()):
            raise UserError(f"{self.path} holds other files; name a new folder for the run.")
        return Settings.from_dict(given)

    def is_finished(self, settings: Settings) -> bool:
        """Whether a training with these settings, but for where and how fast it runs, has come to its end here."""
        if not self.metrics.exists():
            return False
        free = {name: getattr(settings, name) for name in FREE_ON_RESUME}
        return settings == replace(Settings.load(self.settings), **free)

    def begin(self, settings: Settings, planned: Planned) -> None:
        """Write what was decided. When a training goes on its number of epochs may have grown."""
        self.metrics.unlink(missing_ok=True)  # of a shorter training: this one is not finished yet
        settings.save(self.settings)
        if planned.fingerprint is not None:
            planned.fingerprint.save(self.home / "fingerprint.json")
        # The plan that is looked for last: where it is, all is there.
        for file in dict.fromkeys((self.path / "plan.json", self.plan)):
            planned.plan.save(file)

    def known_files(self) -> dict[str, dict[str, Any]]:
        """What the other folds' manifests say of the data set's files, as `manifest.hash_files` returns it."""
        known: dict[str, dict[str, Any]] = {}
        for path in sorted(self.shared.glob("fold_*/manifest.json")) if self.shared else []:
            try:
                known |= read_json(path)["data"]["files"]
            except (UserError, KeyError, TypeError):  # a damaged one saves no time; its own fold tells of it
                continue
        return known

    def prediction(self, case: str, plan: Plan) -> Path:
        """The file of a validation case's segmentation."""
        picture = plan.dimension == 2 and max(plan.labels.values()) <= 65535  # PNG holds no larger ones
        return self.path / "validation" / (case + (".png" if picture else ".nii.gz"))
