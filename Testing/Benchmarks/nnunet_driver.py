"""nnU-Net v2's 2D U-Net under a time limit: planning, preprocessing, training and prediction in one process.

Started by against_nnunet.py with the interpreter of an environment that has nnunetv2, and with nnU-Net's environment
variables set; imports nothing of ours. All is nnU-Net's default but the length: a thousand epochs of 250 batches take
days on a CPU. As our `--minutes`, the time counts from the start of the command and includes the prediction of the
validation cases. The first batches are timed, and an epoch gets as many as make about EPOCHS epochs (one batch in six
is validation, as in nnU-Net). After MEASURED_EPOCHS at the highest learning rate, the number of epochs is fixed, and
nnU-Net's polynomial decay reaches its end with the last one.

    FOLDER/preprocessed/, results/      nnU-Net's own
    FOLDER/length.json                  what was fixed, so that a killed training goes on
    FOLDER/predictions/, facts.json     what comes out
"""

import argparse
import json
import os
import platform
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from nnunetv2.experiment_planning import plan_and_preprocess_api as planning
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

EPOCHS = 50
MEASURED_EPOCHS = 2
TIMED_BATCHES = 3
MOST_BATCHES = 250  # of an epoch, and
BATCHES_PER_VALIDATION_BATCH = 5  # nnU-Net's defaults
PACKAGES = ("nnunetv2", "torch", "batchgeneratorsv2", "dynamic-network-architectures", "numpy")
SEED = 12345


def main() -> None:
    started = time.monotonic()
    options = parse()
    folder = options.folder
    base = folder / "preprocessed" / options.dataset
    prepare(options.dataset, base, options.threads, options.batch_size)
    os.environ.update(nnUNet_n_proc_DA=str(options.processes))  # only now: the planner cannot do with 0
    torch.set_num_threads(options.threads)
    torch.manual_seed(SEED)
    np.random.seed(SEED)
    splits = json.loads(options.splits.read_text(encoding="utf-8"))
    (base / "splits_final.json").write_text(json.dumps(splits), encoding="utf-8")
    prepared = time.monotonic()

    trainer = make_trainer(base, folder, options, splits[options.fold]["val"], started)
    trainer.run_training()
    trained = time.monotonic()
    trainer.predict(trainer.validation_cases)
    plan = trainer.configuration_manager.configuration
    facts = {
        "versions": {name: version(name) for name in PACKAGES} | {"python": platform.python_version()},
        "plan": {name: plan[name] for name in ("spacing", "patch_size", "batch_size", "normalization_schemes")},
        "features_per_stage": plan["architecture"]["arch_kwargs"]["features_per_stage"],
        "trainable_parameters": sum(p.numel() for p in trainer.network.parameters() if p.requires_grad),
        "epochs": trainer.current_epoch,
        "iterations_per_epoch": trainer.num_iterations_per_epoch,
        "seconds": {
            "planning and preprocessing": round(prepared - started, 1),
            "training": round(trained - prepared, 1),
            "prediction": round(time.monotonic() - trained, 1),
        },
    }
    (folder / "facts.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", help="name of a folder in $nnUNet_raw, such as Dataset004_Hippocampus")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=Path, required=True, help="folder with the images of the validation cases")
    parser.add_argument("--splits", type=Path, required=True, help="splits_final.json")
    parser.add_argument("--fold", type=int, required=True)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--batch-size", type=int, help="instead of the planned one")
    parser.add_argument("--processes", type=int, default=0, help="that prepare batches (default: 0)")
    parser.add_argument("--device", default="cpu")
    return parser.parse_args()


def prepare(dataset: str, base: Path, processes: int, batch_size: int | None) -> None:
    """Fingerprint, plans and preprocessed 2D data of nnU-Net's defaults, unless they are there."""
    done = base / "preprocessed.txt"
    if done.exists():
        return
    number = int(dataset[len("Dataset") :].partition("_")[0])
    planning.extract_fingerprint_dataset(number, num_processes=processes, show_progress_bar=False)
    planning.plan_experiment_dataset(number)
    if batch_size is not None:
        plans = json.loads((base / "nnUNetPlans.json").read_text(encoding="utf-8"))
        plans["configurations"]["2d"]["batch_size"] = batch_size
        (base / "nnUNetPlans.json").write_text(json.dumps(plans, indent=2), encoding="utf-8")
    planning.preprocess_dataset(number, configurations=("2d",), num_processes=(processes,), show_progress_bar=False)
    done.write_text("2d\n", encoding="utf-8")


def make_trainer(
    base: Path, folder: Path, options: argparse.Namespace, validation_cases: list[str], started: float
) -> "TimedTrainer":
    plans = json.loads((base / "nnUNetPlans.json").read_text(encoding="utf-8"))
    plans["continue_training"] = (folder / "length.json").exists()
    dataset_json = json.loads((base / "dataset.json").read_text(encoding="utf-8"))
    trainer = TimedTrainer(plans, "2d", options.fold, dataset_json, torch.device(options.device))
    trainer.end = started + 60 * options.minutes
    trainer.folder, trainer.images, trainer.validation_cases = folder, options.images, validation_cases
    trainer.save_every = 1
    return trainer


class TimedTrainer(nnUNetTrainer):
    """nnU-Net's trainer with a length that fits into the time. end: of the time, in `time.monotonic()`."""

    end: float
    folder: Path
    images: Path
    validation_cases: list[str]

    def run_training(self) -> None:
        """Train to the end, from the last checkpoint if the length was fixed before."""
        self.initialize()
        length = self.folder / "length.json"
        checkpoints = [Path(self.output_folder) / f"checkpoint_{name}.pth" for name in ("final", "latest")]
        checkpoint = next((path for path in checkpoints if path.exists()), None)
        resumed = length.exists() and checkpoint is not None
        if resumed:
            self.load_checkpoint(str(checkpoint))
            self.set_length(**json.loads(length.read_text(encoding="utf-8")))
            if checkpoint == checkpoints[0]:
                return
        self.on_train_start()
        if not resumed:
            self.choose_batches_per_epoch()
        seconds = []
        while self.current_epoch < self.num_epochs:
            began = time.monotonic()
            self.run_epoch()
            seconds.append(time.monotonic() - began)
            if not resumed and len(seconds) == MEASURED_EPOCHS:
                # The first one is slowed by warming up, so the faster one is what the others will take.
                fitting = int((self.end - time.monotonic() - self.prediction_seconds) / min(seconds))
                self.set_length(self.current_epoch + max(0, fitting), self.num_iterations_per_epoch)
                numbers = {"epochs": self.num_epochs, "iterations": self.num_iterations_per_epoch}
                length.write_text(json.dumps(numbers), encoding="utf-8")
                self.print_to_log_file(f"An epoch takes {min(seconds):.1f} s: {self.num_epochs} epochs.")
        self.on_train_end()

    def run_epoch(self) -> None:
        """What nnUNetTrainer.run_training does in an epoch."""
        self.on_epoch_start()
        self.on_train_epoch_start()
        losses = [self.train_step(next(self.dataloader_train)) for _ in range(self.num_iterations_per_epoch)]
        self.on_train_epoch_end(losses)
        with torch.no_grad():
            self.on_validation_epoch_start()
            steps = range(self.num_val_iterations_per_epoch)
            self.on_validation_epoch_end([self.validation_step(next(self.dataloader_val)) for _ in steps])
        self.on_epoch_end()

    def choose_batches_per_epoch(self) -> None:
        """Time one case's prediction and a few batches, of which the first warms up."""
        began = time.monotonic()
        self.predict(self.validation_cases[:1])
        self.prediction_seconds = (time.monotonic() - began) * len(self.validation_cases)
        self.network.train()
        self.train_step(next(self.dataloader_train))
        began = time.monotonic()
        for _ in range(TIMED_BATCHES):
            self.train_step(next(self.dataloader_train))
        per_batch = (time.monotonic() - began) / TIMED_BATCHES
        left = self.end - time.monotonic() - self.prediction_seconds
        fitting = round(left / EPOCHS / per_batch)  # fewer than for one validation batch would validate too often
        self.set_length(self.num_epochs, min(MOST_BATCHES, max(BATCHES_PER_VALIDATION_BATCH, fitting)))
        self.print_to_log_file(f"A batch takes {per_batch:.2f} s: {self.num_iterations_per_epoch} batches per epoch.")

    def set_length(self, epochs: int, iterations: int) -> None:
        self.num_epochs = self.lr_scheduler.max_steps = epochs
        self.num_iterations_per_epoch = iterations
        self.num_val_iterations_per_epoch = iterations // BATCHES_PER_VALIDATION_BATCH

    def predict(self, names: list[str]) -> None:
        """Predict images as nnU-Net does by default, but without mirroring, into FOLDER/predictions."""
        ending = self.dataset_json["file_ending"]
        predictions = self.folder / "predictions"
        predictions.mkdir(exist_ok=True)
        self.set_deep_supervision_enabled(False)
        self.network.eval()
        network = getattr(self.network, "_orig_mod", self.network)
        predictor = nnUNetPredictor(use_mirroring=False, device=self.device, allow_tqdm=False)
        predictor.manual_initialization(
            network,
            self.plans_manager,
            self.configuration_manager,
            [network.state_dict()],
            self.dataset_json,
            type(self).__name__,
            self.inference_allowed_mirroring_axes,
        )
        channels = [sorted(self.images.glob(f"{name}_[0-9][0-9][0-9][0-9]{ending}")) for name in names]
        predictor.predict_from_files_sequential(
            [[str(path) for path in paths] for paths in channels], [str(predictions / name) for name in names]
        )
        self.set_deep_supervision_enabled(self.enable_deep_supervision)


if __name__ == "__main__":
    main()
