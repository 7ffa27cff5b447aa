"""The training loop: from a data set and a plan to a run folder with a model bundle.

    RUN/settings.json, fingerprint.json, plan.json      what was decided
    RUN/checkpoints/last.*, best.*                      where it stands
    RUN/augmentation.png                                what the network will see
    RUN/log.csv, curves.png, overlay.png                how it goes
    RUN/bundle/, metrics.json                           what comes out
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from DinoUNetCore.dataset.augmentation import Augmentation, AugmentationSettings, Windows
from DinoUNetCore.dataset.layout import Dataset
from DinoUNetCore.dataset.plan import Plan
from DinoUNetCore.dataset.preprocessing import PreparedCase
from DinoUNetCore.dataset.slices import EpochSampler, TrainingSlices, collate_windows
from DinoUNetCore.device import choose_device, choose_precision
from DinoUNetCore.errors import Terminated, UserError
from DinoUNetCore.network.dino_unet import DinoUNet
from DinoUNetCore.training.augmentation_sheet import draw_augmentations
from DinoUNetCore.training.checkpoints import load_checkpoint, random_states, save_checkpoint
from DinoUNetCore.training.losses import make_loss
from DinoUNetCore.training.recipes import RECIPES
from DinoUNetCore.training.report import draw_curves, draw_overlay, write_log
from DinoUNetCore.training.schedule import poly_factor
from DinoUNetCore.training.settings import Settings
from DinoUNetCore.training.start import default_workers, loader_problem
from DinoUNetCore.training.step import Step
from DinoUNetCore.training.termination import termination_requests
from DinoUNetCore.training.validation import dice_on_patches
from DinoUNetCore.volume.labels import default_labels

MEASURED_EPOCHS = 2  # with --minutes: after so many the number of epochs is fixed
SECONDS_BETWEEN_PICTURES = 60


@dataclass
class Position:
    """Where an epoch stands: batches done, those of them that were skipped, the sum of the others' losses."""

    iteration: int = 0
    skipped: int = 0
    loss: float = 0.0

    def count(self, loss: float | None) -> None:
        """One batch more; None: it was skipped."""
        self.iteration += 1
        if loss is None:
            self.skipped += 1
        else:
            self.loss += loss


class Trainer:
    """Trains one fold. `run()` does everything up to the last epoch; `network` then holds the best epoch's weights."""

    def __init__(
        self,
        settings: Settings,
        dataset: Dataset,
        plan: Plan,
        cases: dict[str, PreparedCase],
        network: DinoUNet,
        folder: Path,
        started: float,
        say: Callable[[str], None] = print,
    ):
        """started: `time.monotonic()` when the user's command began, from which --minutes counts."""
        self.settings, self.dataset, self.plan, self.folder, self.say = settings, dataset, plan, folder, say
        self.started = started
        self.recipe = RECIPES[settings.recipe]
        self.iterations = settings.iterations or self.recipe.iterations
        self.learning_rate = settings.learning_rate or self.recipe.learning_rate
        self.epochs = None if settings.minutes else settings.epochs or self.recipe.epochs
        self.labels = default_labels(plan.labels)
        training, validation = plan.training_and_validation(settings.fold)
        self.validation_cases = [cases[name] for name in validation]

        self.device = choose_device(settings.device)
        self.dtype = choose_precision(settings.precision, self.device)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)
        self.network = network.to(memory_format=torch.channels_last)
        self.optimizer = self.recipe.make_optimizer(self.network)
        forward = self._forward
        self.step = Step(self.network, forward, make_loss(), self.optimizer, self.scaler, self.recipe.clip, say)
        self._position = Position()  # where the epoch stands that is to be gone on with
        self.history: list[dict[str, Any]] = []
        self.best = -1.0
        self.best_epoch: int | None = None

        upright = plan.dimension == 3 or set(plan.mirror) != {"rows", "columns"}  # volumes are, and pictures with sides
        augmentation = AugmentationSettings(
            rotation=self.recipe.rotation if upright else 180.0,
            mirror=tuple(plan.mirror),
        )
        self.augmentation = Augmentation(augmentation, plan.patch_size)
        self.sampler = EpochSampler(self.iterations * plan.batch_size)
        workers = settings.workers if settings.workers is not None else default_workers(self.device)
        self.loader = self._make_loader([cases[name] for name in training], self.augmentation, self.sampler, workers)
        validation_batches = max(5, self.iterations // 10)
        unchanging = EpochSampler(validation_batches * plan.batch_size)  # its epoch stays 0: always the same patches
        self.validation_loader = self._make_loader(self.validation_cases, None, unchanging, min(workers, 2))

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    def run(self) -> None:
        """Train to the end, from the last checkpoint if there is one.

        Terminated, with all saved, if the system tells the process to end.
        """
        with termination_requests() as self._termination:
            self._run()

    def _run(self) -> None:
        self._resume()
        if not (self.folder / "augmentation.png").exists():
            self._report(self._draw_augmentations)
        pictures_drawn = -math.inf
        while self.epochs is None or len(self.history) < self.epochs:
            started = time.monotonic()
            epoch = len(self.history)
            loss, rate = self._train_epoch(epoch)
            dice = self._validate()
            known = [value for value in dice if value is not None]
            mean = sum(known) / len(known) if known else None
            self.history.append(
                {"epoch": epoch + 1, "loss": loss, "mean_dice": mean, "dice": dice, "learning_rate": rate,
                 "seconds": time.monotonic() - started}
            )  # fmt: skip
            if self.epochs is None and len(self.history) == MEASURED_EPOCHS:
                self._fix_epochs()
            self._save(mean)
            self._tell()
            if time.monotonic() - pictures_drawn > SECONDS_BETWEEN_PICTURES:
                self.draw()
                pictures_drawn = time.monotonic()
        if self.best_epoch is not None:
            load_checkpoint(self.checkpoints / "best.safetensors", self.network)
        self.network.eval()
        self.draw()

    def _make_loader(
        self, cases: list[PreparedCase], augmentation: Augmentation | None, sampler: EpochSampler, workers: int
    ) -> DataLoader:
        plan = self.plan
        return DataLoader(
            TrainingSlices(cases, plan.patch_size, plan.context_slices, augmentation, self.settings.seed),
            batch_size=plan.batch_size,
            sampler=sampler,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=self.device.type == "cuda",
            collate_fn=collate_windows if augmentation else None,
            generator=torch.Generator(),  # not the global one, of which loaders with and without workers draw unlike
            worker_init_fn=_single_thread,
            multiprocessing_context="spawn" if workers > 0 else None,
        )

    def _train_epoch(self, epoch: int) -> tuple[float, float]:
        """One pass of the sampler; returns the mean loss and the learning rate at its end."""
        position, self._position = self._position, Position()
        torch.manual_seed(self.settings.seed + 1_000_003 * (epoch + 1))  # drop path; the samples seed themselves
        self.sampler.epoch, self.sampler.first = epoch, position.iteration * self.plan.batch_size
        self.network.train()
        rate = 0.0
        for windows in self._progress(epoch, position):
            rate = self._set_learning_rate(epoch, position.iteration)
            image, label = self.augmentation(windows, self.device)
            position.count(self.step(image.to(memory_format=torch.channels_last), label))
            if self._termination.came and position.iteration < self.iterations:
                self._save_within(epoch, position)
        if position.skipped:
            self.say(f"warning: {position.skipped} batches of epoch {epoch + 1} gave no finite loss and were skipped.")
        return position.loss / max(1, position.iteration - position.skipped), rate

    def _progress(self, epoch: int, position: "Position") -> Iterator[Windows]:
        of = f"/{self.epochs}" if self.epochs else ""
        title = f"epoch {epoch + 1}{of}{self._time_left()}"
        first, batches = position.iteration, iter(self.loader)
        if first > 0:
            self._set_random_states(random_states(self.checkpoints / "last.safetensors"))
        batches = tqdm(batches, desc=title, leave=False, unit="batch", initial=first, total=self.iterations)
        try:
            yield from batches
        except (UserError, RuntimeError) as error:
            if problem := loader_problem(error):
                raise problem from error
            raise

    def _save_within(self, epoch: int, position: "Position") -> NoReturn:
        """Save where the epoch stands, and end."""
        states = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            states["cuda"] = torch.cuda.get_rng_state(self.device)
        state = self._state() | {"position": asdict(position)}
        save_checkpoint(self.checkpoints / "last.safetensors", self.network, self.optimizer, state, states)
        raise Terminated(
            f"told to end: saved after batch {position.iteration} of {self.iterations} of epoch {epoch + 1}; "
            "go on with --resume."
        )

    def _set_random_states(self, states: dict[str, Tensor]) -> None:
        torch.set_rng_state(states["cpu"])
        if "cuda" in states and self.device.type == "cuda":
            torch.cuda.set_rng_state(states["cuda"], self.device)

    def _time_left(self) -> str:
        if self.epochs is None or not self.history:
            return ""
        usual = median(row["seconds"] for row in self.history[-10:])
        return f", {_duration((self.epochs - len(self.history)) * usual)} left"

    def _set_learning_rate(self, epoch: int, iteration: int) -> float:
        position = epoch + (iteration + 1) / (self.iterations + 1) if self.recipe.per_iteration else epoch
        rate = self.learning_rate * poly_factor(position, self.epochs, self.recipe.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        return rate

    def _autocast(self):
        return nullcontext() if self.dtype == torch.float32 else torch.autocast(self.device.type, self.dtype)

    def _forward(self, image: Tensor) -> Tensor:
        with self._autocast():
            return self.network(image.to(self.device)).float()

    def _validate(self) -> list[float | None]:
        self.network.eval()
        return dice_on_patches(self.validation_loader, len(self.plan.labels), self._forward)

    def _fix_epochs(self) -> None:
        """With --minutes: as many epochs as fit, leaving time to validate whole volumes at the end."""
        now = time.monotonic()
        per_epoch = min(row["seconds"] for row in self.history)  # the first one is slowed by warming up
        started = time.monotonic()
        self._validate()
        per_slice = (time.monotonic() - started) / len(self.validation_loader.sampler)
        final = 1.5 * per_slice * sum(case.shape[0] for case in self.validation_cases) + 15
        left = 60 * self.settings.minutes - (now - self.started) - final
        self.epochs = max(MEASURED_EPOCHS, MEASURED_EPOCHS + int(left / (per_epoch + 1)))
        self.say(
            f"An epoch takes {per_epoch:.1f} s: {self.epochs} epochs fit into {self.settings.minutes:g} minutes."
        )

    def _save(self, mean: float | None) -> None:
        improved = mean is not None and mean > self.best
        if improved:
            self.best, self.best_epoch = mean, len(self.history)
        state = self._state()
        if improved:
            save_checkpoint(self.checkpoints / "best.safetensors", self.network, None, state)
        save_checkpoint(self.checkpoints / "last.safetensors", self.network, self.optimizer, state)
        self._report(write_log, self.folder / "log.csv", self.history, [label.name for label in self.labels])

    def _state(self) -> dict[str, Any]:
        return {
            "epochs": self.epochs,
            "best": self.best,
            "best_epoch": self.best_epoch,
            "scaler": self.scaler.state_dict(),
            "history": self.history,
        }

    def _resume(self) -> None:
        path = self.checkpoints / "last.safetensors"
        if not path.exists():
            return
        state = load_checkpoint(path, self.network, self.optimizer)
        self.history = state["history"]
        if state["epochs"] is not None:  # fixed by --minutes, unless the training is made longer
            self.epochs = max(state["epochs"], self.settings.epochs or 0)
        self.best, self.best_epoch = state["best"], state["best_epoch"]
        self.scaler.load_state_dict(state["scaler"])
        self._position = Position(**state.get("position", {}))
        self.say(f"Going on after epoch {len(self.history)}" + (f" of {self.epochs}." if self.epochs else "."))

    def _tell(self) -> None:
        row = self.history[-1]
        known = [(label.name, v) for label, v in zip(self.labels, row["dice"], strict=True) if v is not None]
        dice = ", ".join(f"{name} {value:.3f}" for name, value in known)
        mean = "none" if row["mean_dice"] is None else f"{row['mean_dice']:.3f}"
        of = f"/{self.epochs}" if self.epochs else ""
        best = " (best)" if self.best_epoch == row["epoch"] else ""
        self.say(
            f"epoch {row['epoch']}{of}  loss {row['loss']:.4f}  Dice {mean}{best} [{dice}]  {row['seconds']:.0f} s"
            + self._time_left()
        )

    def _report(self, write: Callable, *arguments) -> None:
        """Call `write`; a report that another program keeps open is no reason to end a training."""
        try:
            write(*arguments)
        except UserError as error:
            self.say(f"warning: {error}")

    def draw(self) -> None:
        """Write curves.png and overlay.png."""
        self._report(self._draw)

    def _draw_augmentations(self) -> None:
        title = f"{self.dataset.name}: a training patch as it is, and as the network will see it"
        draw_augmentations(self.folder / "augmentation.png", self.loader.dataset, self.labels, title)

    def _draw(self) -> None:
        title = f"{self.dataset.name}, {self.settings.variant}, fold {self.settings.fold}"
        draw_curves(self.folder / "curves.png", self.history, self.labels, title)
        self.network.eval()
        with torch.inference_mode():
            draw_overlay(
                self.folder / "overlay.png",
                self.validation_cases,
                self.labels,
                self.plan.patch_size,
                self.plan.context_slices,
                len(self.plan.channel_names),
                lambda image: self._forward(image).argmax(dim=1),
                title,
            )


def _single_thread(worker: int) -> None:
    torch.set_num_threads(1)


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
