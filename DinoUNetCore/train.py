"""Train Dino U-Net on an nnU-Net raw data set: python -m DinoUNetCore.train DATASET -o RUN."""

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from DinoUNetCore.allocator import keep_freed_memory
from DinoUNetCore.command_line import Parser, add_license_option, run, with_license
from DinoUNetCore.console import progress_bar, say
from DinoUNetCore.errors import UserError
from DinoUNetCore.planning_options import add_planning_options, positive, whole_number, with_pairs

if TYPE_CHECKING:
    import SimpleITK as sitk

    from DinoUNetCore.training.processes import Processes
    from DinoUNetCore.training.run_folder import RunFolder
    from DinoUNetCore.training.trainer import Trainer
    from DinoUNetCore.weights.bundle import ModelBundle

ALL_FOLDS = "all"


def make_parser() -> Parser:
    parser = Parser(
        prog="python -m DinoUNetCore.train",
        description="Train Dino U-Net on labelled images in nnU-Net's raw layout (dataset.json, imagesTr, labelsTr).",
        argument_default=argparse.SUPPRESS,  # only options that were given are compared when a run is resumed
        formatter_class=argparse.HelpFormatter,
    )
    add_training_options(parser)
    parser.add_argument("--fold", type=_fold, metavar="N", help="fold to validate on, or all: crossval (default: 0)")
    return parser


def add_training_options(parser: argparse.ArgumentParser) -> None:
    """All options of a training but the fold. For a parser with argument_default SUPPRESS."""
    add_planning_options(parser)
    add = parser.add_argument
    add("-o", "--output", required=True, metavar="RUN", help="folder of this run")
    add("--resume", action="store_true", help="go on with the run in RUN, or begin it if there is none")
    add("--recipe", choices=("default", "fast", "paper"), help="optimizer and schedule (default: default)")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--epochs", type=positive(int), help="number of epochs (default: the recipe's)")
    length.add_argument("--minutes", type=positive(float), help="train as many epochs as fit into this time")
    add("--iterations", type=positive(int), help="batches per epoch (default: the recipe's)")
    add("--learning-rate", type=positive(float), help="highest learning rate (default: the recipe's)")
    backbone_help = "hub, random, a file or folder of DINOv3 weights, or timm's name for others"
    add("--backbone", metavar="SOURCE", help=f"{backbone_help} (default: hub; tiny: random)")
    add_license_option(parser)
    add("--shard-backbone", action="store_true", help="torchrun's processes share out a frozen backbone among them")
    add("--accumulate", type=positive(int), metavar="N", help="take each batch in N parts, to save memory (default: 1)")
    compile_help = "torch.compile training steps, for minutes: yes, or auto: on CUDA, if that is faster (default: no)"
    add("--compile", choices=("no", "yes", "auto"), help=compile_help)
    add("--workers", type=whole_number, help="processes that prepare batches (default: by device)")
    add("--threads", type=positive(int), help="CPU threads (default: all)")
    add("--tensorboard", action="store_true", help="also log to RUN/tensorboard, for TensorBoard")
    add("--name", help="name of the model (default: data set and variant)")
    add("--keep-prepared", action="store_true", help="keep RUN/prepared, the resampled slices, after the end")


def _fold(text: str) -> int | str:
    if text == ALL_FOLDS:
        return text
    try:
        return whole_number(text)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{error}, nor {ALL_FOLDS!r}") from None


def main(arguments: Sequence[str] | None = None) -> None:
    started = time.monotonic()
    given = vars(make_parser().parse_args(arguments))
    if given.get("fold") == ALL_FOLDS:
        del given["fold"]
        train_all_folds(given)
        return
    folder, resume, accept_license = _pop_output(given)
    train(with_pairs(given), folder, resume, started, accept_license)


def _pop_output(given: dict[str, Any]) -> tuple[Path, bool, bool]:
    """RUN, whether to go on with it, and whether the licence is accepted: no settings, and taken out of them."""
    return Path(given.pop("output")), given.pop("resume", False), given.pop("accept_dinov3_license", False)


def train_all_folds(given: dict[str, Any]) -> None:
    """Cross-validate. given: the parsed options, without a fold."""
    os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")  # before torch is imported; see `train`

    from DinoUNetCore.inference.postprocessing import keep_largest_components
    from DinoUNetCore.training.cross_validation import cross_validate

    folder, resume, accept_license = _pop_output(given)

    def train_fold(settings: dict[str, Any], run: Path) -> None:
        train(settings, run, True, time.monotonic(), accept_license, shared=folder)

    with progress_bar("trying postprocessing") as progress:
        cross_validate(with_pairs(given), folder, resume, train_fold, keep_largest_components, say, progress)


def train(
    given: dict[str, Any],
    folder: Path,
    resume: bool,
    started: float,
    accept_license: bool = False,
    shared: Path | None = None,
) -> None:
    """Train one fold into `folder`, in all processes that torchrun has started.

    given: the settings a user chose, by the names of `Settings`. started: `time.monotonic()` when the command began.
    shared: the folder of plan and prepared cases where several folds share them (see `RunFolder`).
    """
    os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")  # older PyTorch lacks some operations on Apple's GPUs

    from DinoUNetCore.training.processes import joined
    from DinoUNetCore.training.run_folder import RunFolder

    keep_freed_memory()
    with joined() as processes:
        _train(given, RunFolder(folder, shared), resume, started, accept_license, processes)


def _train(
    given: dict[str, Any],
    run_folder: "RunFolder",
    resume: bool,
    started: float,
    accept_license: bool,
    processes: "Processes",
) -> None:
    import torch

    from DinoUNetCore.dataset.preprocessing import prepare_cases
    from DinoUNetCore.training.accuracy_tables import counted
    from DinoUNetCore.training.backbone_placement import place_together
    from DinoUNetCore.training.loading import places_in_batch
    from DinoUNetCore.training.manifest import write_manifest
    from DinoUNetCore.training.planning import plan_training
    from DinoUNetCore.training.start import hardware, make_network
    from DinoUNetCore.training.trainer import Trainer
    from DinoUNetCore.weights.dinov3 import check_backbone_file

    tell = say if processes.first else _silent
    settings = processes.first_decides(lambda: run_folder.open(given, resume))
    if processes.first_decides(lambda: run_folder.is_finished(settings)):
        tell(f"{run_folder.path} is finished: its model is {run_folder.path / 'bundle'}.")
        return

    device = processes.choose_device(settings.device)  # what is mistyped is told before anything is read
    if settings.backbone_source not in ("hub", "random"):
        processes.first_decides(lambda: check_backbone_file(settings.backbone_source))
    if settings.threads:
        torch.set_num_threads(settings.threads)
    # All that can be wrong is told before anything is written, so that the same command can be given again, mended.
    with progress_bar("reading cases") as progress:
        planned = processes.first_decides(lambda: plan_training(settings, run_folder.plan, progress, processes.count))
    dataset, plan = planned.dataset, planned.plan
    training, validation = processes.first_decides(lambda: plan.training_and_validation(settings.fold))
    processes.first_decides(lambda: places_in_batch(plan.batch_size, settings.accumulate, processes))
    placement = place_together(settings, processes)
    network = processes.first_goes_ahead(
        lambda: with_license(lambda: make_network(settings, plan, tell, run_folder.path, placement), accept_license)
    )
    for note in [*plan.warnings, *planned.notes]:
        tell(f"warning: {note}")
    processes.first_decides(lambda: run_folder.begin(settings, planned))
    with progress_bar("hashing files") as progress:
        changes = processes.first_decides(
            lambda: write_manifest(
                run_folder.path / "manifest.json",
                settings,
                dataset,
                plan,
                device,
                processes.count,
                progress,
                known=run_folder.known_files(),
                backbone_sha256=network.backbone.loaded_sha256,
            )
        )
    for note in changes:
        tell(f"warning: {note}")
    with progress_bar("preparing cases") as progress:
        cases = processes.first_decides(
            lambda: prepare_cases(
                dataset, plan, run_folder.prepared, resample_channels=settings.resample_channels, progress=progress
            )
        )

    trainer = Trainer(settings, dataset, plan, cases, network, run_folder.path, started, say, processes)
    machine = (f"{processes.count} x " if processes.count > 1 else "") + hardware(device)
    tell(
        f"Training {settings.variant} on {counted(len(training), 'case')}, validating on {len(validation)} "
        f"(fold {settings.fold}), on {machine}. "
        f"Patches {plan.patch_size[0]}x{plan.patch_size[1]}, batch {plan.batch_size}."
    )
    trainer.run()

    facts = {
        "data_set": dataset.name,
        "training_cases": len(training),
        "validation_cases": len(validation),
        "fold": settings.fold,
        "validated_on_training_cases": plan.validates_on_training_cases,
        **({"began_with": _began_with(run_folder)} if settings.pretrained else {}),
        "recipe": settings.recipe,
        "epochs": len(trainer.history),
        "iterations_per_epoch": trainer.iterations,
        "batch_size": plan.batch_size,
        "best_epoch": trainer.best_epoch,
        "minutes": round(sum(row["seconds"] for row in trainer.history) / 60, 1),
        "hardware": machine,
        "seed": settings.seed,
    }
    bundle, metrics = _measured_bundle(trainer, run_folder, facts)
    processes.first_decides(lambda: _finish(bundle, metrics, trainer, run_folder))


def _began_with(run_folder: "RunFolder") -> str:
    """The name of the bundle that a training began with, which may be gone since."""
    from DinoUNetCore.files import read_json

    return read_json(run_folder.path / "manifest.json")["began_with"]["bundle"]["name"]


def _measured_bundle(
    trainer: "Trainer", run_folder: "RunFolder", facts: dict[str, Any]
) -> tuple["ModelBundle", dict[str, Any]]:
    """The trained model, and what it does on whole validation cases; its segmentations of these are kept.

    The processes share the cases, and wait for each other only where they share the backbone, too.
    """
    from DinoUNetCore.inference.segmenter import Segmenter
    from DinoUNetCore.metrics import summarise
    from DinoUNetCore.training.bundling import make_bundle, with_metrics
    from DinoUNetCore.training.validation import measure_cases
    from DinoUNetCore.volume.writing import write_label_map

    settings, plan, processes = trainer.settings, trainer.plan, trainer.processes
    bundle = make_bundle(trainer.network, plan, settings, trainer.labels, facts)

    def keep(name: str, segmentation: "sitk.Image") -> None:
        write_label_map(segmentation, run_folder.prediction(name, plan), trainer.labels, overwrite=True)

    _, validation = plan.training_and_validation(settings.fold)
    with progress_bar("measuring whole images") as progress, trainer.network.backbone.together():
        measured = measure_cases(
            Segmenter(bundle, settings.device, precision=settings.precision, network=trainer.network).segment,
            trainer.dataset,
            processes.share(validation),
            unit=plan.unit,
            resample_channels=settings.resample_channels,
            progress=progress if processes.first else None,
            keep=keep,
        )
    together = {name: results for part in processes.gather(measured) for name, results in part.items()}
    metrics = summarise(together, plan.unit)
    curves = (run_folder.path / "curves.png").read_bytes() if (run_folder.path / "curves.png").is_file() else None
    return with_metrics(bundle, metrics, curves), {
        "validated_on_training_cases": plan.validates_on_training_cases, **metrics
    }  # fmt: skip


def _finish(bundle: "ModelBundle", metrics: dict[str, Any], trainer: "Trainer", run_folder: "RunFolder") -> None:
    from DinoUNetCore.dataset.preprocessing import remove_prepared
    from DinoUNetCore.files import write_json
    from DinoUNetCore.training.run_report import write_report

    bundle.save(run_folder.path / "bundle", overwrite=True)
    try:
        write_report(run_folder.path, trainer.dataset, trainer.plan, trainer.labels, metrics)
    except UserError as error:
        say(f"warning: {error}")  # the model is there
    write_json(run_folder.metrics, metrics)  # last: with it the training is finished
    if not trainer.settings.keep_prepared and run_folder.shared is None:
        remove_prepared(run_folder.prepared)
    say(_summary(metrics, run_folder.path))


def _silent(text: str) -> None:
    """What all processes but the first say."""


def _summary(metrics: dict[str, Any], folder: Path) -> str:
    rows = [(name, row) for name, row in metrics["labels"].items()] + [("mean", metrics["mean"])]
    width = max(len(name) for name in ("Validation", *(name for name, _ in rows)))
    lines = [f"{'Validation':<{width}}   Dice   HD95 {metrics['unit']}"]
    for name, row in rows:
        dice = "    -" if row["dice"] is None else f"{row['dice']:5.3f}"
        hd95 = "       -" if row["hd95"] is None else f"{row['hd95']:8.2f}"
        lines.append(f"{name:<{width}}  {dice}  {hd95}")
    return "\n".join([*lines, f"The model is {folder / 'bundle'}; {folder / 'report.html'} shows how good it is."])


if __name__ == "__main__":
    run(main)
