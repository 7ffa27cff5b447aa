"""The training loop: from a data set and a plan to a run folder with a model bundle.

    RUN/settings.json, fingerprint.json, plan.json      what was decided
    RUN/checkpoints/last.*, best.*                      where it stands
    RUN/features/                                       what a frozen backbone made of samples that come again
    RUN/augmentation.png                                what the network will see
    RUN/log.csv, curves.png, overlay.png                how it goes
    RUN/bundle/, metrics.json                           what comes out
"""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, NoReturn

import torch
from torch import Tensor
from tqdm import tqdm

from DinoUNetCore.dataset.augmentation import Augmentation, AugmentationSettings, Windows
from DinoUNetCore.dataset.label_scheme import scheme_of
from DinoUNetCore.dataset.layout import Dataset
from DinoUNetCore.dataset.plan import Plan
from DinoUNetCore.dataset.preprocessing import PreparedCase
from DinoUNetCore.dataset.slices import TrainingSlices
from DinoUNetCore.device import choose_device, choose_precision
from DinoUNetCore.durations import in_words
from DinoUNetCore.errors import Terminated
from DinoUNetCore.measurements import memory_file
from DinoUNetCore.network.dino_unet import DinoUNet
from DinoUNetCore.training.batch_norm import share_batch_norms
from DinoUNetCore.training.checkpoints import load_checkpoint, random_states, save_checkpoint
from DinoUNetCore.training.feature_cache import make_feature_cache, stay_the_same
from DinoUNetCore.training.gradients import send_from_first
from DinoUNetCore.training.loading import PatchLoader, default_workers, places_in_batch
from DinoUNetCore.training.losses import make_loss
from DinoUNetCore.training.manifest import note_in_session
from DinoUNetCore.training.processes import ALONE, Processes
from DinoUNetCore.training.recipes import RECIPES
from DinoUNetCore.training.report import write_log
from DinoUNetCore.training.run_pictures import RunPictures, epoch_line
from DinoUNetCore.training.schedule import poly_factor
from DinoUNetCore.training.settings import Settings
from DinoUNetCore.training.step import Step
from DinoUNetCore.training.step_compiler import StepCompiler
from DinoUNetCore.training.stopwatch import (
    AUGMENTING,
    LEARNING,
    SAVING,
    VALIDATING,
    WAITING,
    Stopwatch,
    where_time_went,
)
from DinoUNetCore.training.tensorboard import EventLog
from DinoUNetCore.training.termination import termination_requests
from DinoUNetCore.training.validation import dice_on_patches

MEASURED_EPOCHS = 2  # with --minutes: after so many, or fewer (`_is_measured`), the number of epochs is fixed


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
        cases: dict[str, list[PreparedCase]],
        network: DinoUNet,
        folder: Path,
        started: float,
        say: Callable[[str], None] = print,
        processes: Processes = ALONE,
    ):
        """started: `time.monotonic()` when the user's command began, from which --minutes counts.
        processes: that train together, each with its share of every batch; the first one writes and speaks.
        """
        self.settings, self.dataset, self.plan, self.folder = settings, dataset, plan, folder
        self.say = say if processes.first else _silent
        self.started, self.processes = started, processes
        self.recipe = RECIPES[settings.recipe]
        self.iterations = settings.iterations or self.recipe.iterations
        self.learning_rate = settings.learning_rate or self.recipe.learning_rate
        self.epochs = None if settings.minutes else settings.epochs or self.recipe.epochs
        self.scheme = scheme_of(plan)
        self.labels = self.scheme.described
        training, validation = plan.training_and_validation(settings.fold)
        training_cases = [case for name in training for case in cases[name]]  # a case once per plane
        self.validation_cases = [case for name in validation for case in cases[name]]

        self.device = choose_device(settings.device)
        self.dtype = choose_precision(settings.precision, self.device)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)
        send_from_first(network, processes)
        share_batch_norms(network, processes)
        self.network = network.to(memory_format=torch.channels_last)
        self.optimizer = self.recipe.make_optimizer(self.network)
        self.step = Step(
            self.network,
            self.forward,
            make_loss(self.scheme, processes.total),
            self.optimizer,
            self.scaler,
            self.recipe.clip,
            self.say,
            settings.accumulate,
            processes,
            plan.batch_size,
            self._make_compiler(),
        )
        self._position = Position()  # where the epoch stands that is to be gone on with
        self.history: list[dict[str, Any]] = []
        self.best = -1.0
        self.best_epoch: int | None = None
        self.watch = Stopwatch()
        self.pictures = RunPictures(self)

        upright = plan.dimension == 3 or set(plan.mirror) != {"rows", "columns"}  # volumes are, and pictures with sides
        augmentation = AugmentationSettings(
            rotation=self.recipe.rotation if upright else 180.0,
            mirror=tuple(plan.mirror),
        )
        self.augmentation = Augmentation(augmentation, plan.patch_size)
        self.repeat = self.recipe.repeat if stay_the_same(network) else None
        self.features = None
        if self.repeat:
            own = len(places_in_batch(plan.batch_size, settings.accumulate, processes))
            self.features = make_feature_cache(
                folder / "features",
                self.repeat * self.iterations * own,
                network.backbone,
                plan.patch_size,
                self.dtype,
                self.say,
                processes,
            )
        workers = settings.workers if settings.workers is not None else default_workers(self.device)
        self.loader = self._make_loader(training_cases, self.augmentation, self.iterations, workers)
        validation_batches = max(5, self.iterations // 10)
        self.validation_loader = self._make_loader(self.validation_cases, None, validation_batches, min(workers, 2))

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    def run(self) -> None:
        """Train to the end, from the last checkpoint if there is one.

        Terminated, with all saved, if the system tells the process to end.
        """
        with termination_requests() as self._termination:
            self._run()
        self.features = None  # Windows deletes no file that is mapped
        self.processes.gather(None)
        if self.processes.first:
            shutil.rmtree(self.folder / "features", ignore_errors=True)

    def _run(self) -> None:
        self._resume()
        self.pictures.draw_augmentations()
        events = None
        if self.settings.tensorboard and self.processes.first:
            events = EventLog(self.folder / "tensorboard", len(self.history))
        while self.epochs is None or len(self.history) < self.epochs:
            started = time.monotonic()
            epoch = len(self.history)
            patches = (self.iterations - self._position.iteration) * self.plan.batch_size
            loss, rate = self._train_epoch(epoch)
            with self.watch(VALIDATING):
                dice = self._validate()
            known = [value for value in dice if value is not None]
            mean = sum(known) / len(known) if known else None
            row = {"epoch": epoch + 1, "loss": loss, "mean_dice": mean, "dice": dice, "learning_rate": rate}
            row |= {"seconds": time.monotonic() - started, **self.watch.lap(patches)}
            self.history.append(row)
            if self.epochs is None and self._is_measured():
                self._fix_epochs()
            with self.watch(SAVING):
                self._save(mean)
            self.say(epoch_line(row, self.labels, self.epochs, self.best_epoch == row["epoch"]) + self._time_left())
            if events:
                events.add(row, [label.name for label in self.labels])
            if self.processes.any(self._termination.came):
                raise Terminated(f"told to end: saved after epoch {row['epoch']}; go on with --resume.")
            with self.watch(SAVING):
                self.pictures.draw_now_and_then()
        if events:
            events.close()
        self.say(where_time_went(self.history))
        if self.best_epoch is not None:
            load_checkpoint(self.checkpoints / "best.safetensors", self.network)
        self.network.eval()
        self.pictures.draw()

    def _make_compiler(self) -> StepCompiler:
        def note(outcome: dict[str, Any]) -> None:
            if self.processes.first:
                self.pictures.write(note_in_session, self.folder / "manifest.json", "compile", outcome)

        settings, plan = self.settings, self.plan
        batch = (plan.batch_size, settings.accumulate, self.processes.count)
        network = (settings.variant, settings.trains_backbone, self.network.in_channels, self.network.num_classes)
        facts = (settings.recipe, *network, plan.patch_size, batch, self.dtype)
        return StepCompiler(
            settings.compile, self.network, self.device, self.say, note, self.processes, facts, memory_file()
        )

    def _make_loader(
        self, cases: list[PreparedCase], augmentation: Augmentation | None, batches: int, workers: int
    ) -> PatchLoader:
        plan = self.plan
        slices = TrainingSlices(cases, plan.patch_size, plan.context_slices, augmentation, self.settings.seed)
        places = places_in_batch(plan.batch_size, self.settings.accumulate, self.processes)
        return PatchLoader(
            slices, batches, plan.batch_size, places, workers, pin=self.device.type == "cuda", say=self.say
        )

    def _train_epoch(self, epoch: int) -> tuple[float, float]:
        """One pass of the sampler; returns the mean loss and the learning rate at its end."""
        position, self._position = self._position, Position()
        # drop path, which differs between processes; the samples seed themselves
        torch.manual_seed(self.settings.seed + 1_000_003 * (epoch + 1) + self.processes.rank)
        self.network.train()
        rate = 0.0
        sample_epoch = epoch % self.repeat if self.repeat else epoch
        for windows in self.watch.each(WAITING, self._progress(epoch, sample_epoch, position)):
            rate = self._set_learning_rate(epoch, position.iteration)
            with self.watch(AUGMENTING):
                image, label = self.augmentation(windows, self.device)
            number = sample_epoch * self.iterations + position.iteration  # of this batch among all that differ
            samples = torch.arange(number * len(image), (number + 1) * len(image))
            with self.watch(LEARNING):
                position.count(self.step(image.to(memory_format=torch.channels_last), label, samples))
            if position.iteration < self.iterations and self.processes.any(self._termination.came):
                self._save_within(epoch, position)
        if position.skipped:
            self.say(f"warning: {position.skipped} batches of epoch {epoch + 1} gave no finite loss and were skipped.")
        return position.loss / max(1, position.iteration - position.skipped), rate

    def _progress(self, epoch: int, sample_epoch: int, position: "Position") -> Iterator[Windows]:
        of = f"/{self.epochs}" if self.epochs else ""
        title = f"epoch {epoch + 1}{of}{self._time_left()}"
        first = position.iteration
        if first > 0:
            self._set_random_states(random_states(self.checkpoints / "last.safetensors"))
        batches = self.loader.batches(sample_epoch, first)
        hidden = not self.processes.first
        return iter(
            tqdm(batches, title, self.iterations, leave=False, unit="batch", initial=first, disable=hidden)
        )

    def _save_within(self, epoch: int, position: "Position") -> NoReturn:
        """Save where the epoch stands, and end."""
        states = {f"cpu.{self.processes.rank}": torch.get_rng_state()}
        if self.device.type == "cuda":
            states[f"cuda.{self.processes.rank}"] = torch.cuda.get_rng_state(self.device)
        states = {name: state for own in self.processes.gather(states) for name, state in own.items()}
        state = self._state() | {"position": asdict(position)}
        path = self.checkpoints / "last.safetensors"
        self.processes.first_decides(lambda: save_checkpoint(path, self.network, self.optimizer, state, states))
        raise Terminated(
            f"told to end: saved after batch {position.iteration} of {self.iterations} of epoch {epoch + 1}; "
            "go on with --resume."
        )

    def _set_random_states(self, states: dict[str, Tensor]) -> None:
        """Those of this process, where there was one of its number when they were saved."""
        cpu, cuda = (states.get(f"{kind}.{self.processes.rank}") for kind in ("cpu", "cuda"))
        if cpu is not None:
            torch.set_rng_state(cpu)
        if cuda is not None and self.device.type == "cuda":
            torch.cuda.set_rng_state(cuda, self.device)

    def _time_left(self) -> str:
        if self.epochs is None or not 0 < len(self.history) < self.epochs:
            return ""
        usual = median(row["seconds"] for row in self.history[-10:])
        return f", {in_words((self.epochs - len(self.history)) * usual)} left"

    def _set_learning_rate(self, epoch: int, iteration: int) -> float:
        position = epoch + (iteration + 1) / (self.iterations + 1) if self.recipe.per_iteration else epoch
        rate = self.learning_rate * poly_factor(position, self.epochs, self.recipe.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        return rate

    def _autocast(self):
        return nullcontext() if self.dtype == torch.float32 else torch.autocast(self.device.type, self.dtype)

    def forward(self, image: Tensor, samples: Tensor | None = None) -> Tensor:
        """samples: numbers of the training samples, for which a frozen backbone may be known already."""
        with self._autocast():
            if samples is None or self.features is None:
                return self.network(image.to(self.device)).float()
            image, window = self.network.prepare(image)
            features = self.network.decode(image, self.features.taps(image, samples))
            return self.network.head(features[(..., *window)]).float()

    def _validate(self) -> list[float | None]:
        self.network.eval()
        batches = self.validation_loader.batches()  # of epoch 0: always the same
        return dice_on_patches(batches, self.scheme, self.forward, self.processes.total)

    def _is_measured(self) -> bool:
        """With --minutes: whether enough epochs were seen. One is where few fit, as the rate has to fall in those."""
        spent = time.monotonic() - self.started
        few_fit = self.processes.first_decides(lambda: 4 * spent > 60 * self.settings.minutes)
        return few_fit or len(self.history) >= MEASURED_EPOCHS

    def _fix_epochs(self) -> None:
        """With --minutes: as many epochs as fit, leaving time to validate whole volumes at the end."""
        now = time.monotonic()
        per_epoch = min(row["seconds"] for row in self.history)  # the first one is slowed by warming up
        started = time.monotonic()
        self._validate()
        per_slice = (time.monotonic() - started) / (len(self.validation_loader.sampler) * self.processes.count)
        final = 1.5 * per_slice * sum(case.shape[0] for case in self.validation_cases) + 15
        left = 60 * self.settings.minutes - (now - self.started) - final
        epochs = max(MEASURED_EPOCHS, len(self.history) + int(left / (per_epoch + 1)))
        self.epochs = self.processes.first_decides(lambda: epochs)
        self.say(
            f"An epoch takes {per_epoch:.1f} s: {self.epochs} epochs fit into {self.settings.minutes:g} minutes."
        )

    def _save(self, mean: float | None) -> None:
        improved = mean is not None and mean > self.best
        if improved:
            self.best, self.best_epoch = mean, len(self.history)
        self.processes.first_decides(lambda: self._write_checkpoints(improved))

    def _write_checkpoints(self, improved: bool) -> None:
        state = self._state()
        if improved:
            save_checkpoint(self.checkpoints / "best.safetensors", self.network, None, state)
        save_checkpoint(self.checkpoints / "last.safetensors", self.network, self.optimizer, state)
        self.pictures.write(write_log, self.folder / "log.csv", self.history, [label.name for label in self.labels])

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


def _silent(text: str) -> None:
    """What all processes but the first say."""
