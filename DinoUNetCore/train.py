"""Train Dino U-Net on an nnU-Net raw data set: python -m DinoUNetCore.train DATASET -o RUN."""

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from DinoUNetCore.command_line import Parser, add_license_option, run, with_license
from DinoUNetCore.console import progress_bar, say
from DinoUNetCore.errors import UserError
from DinoUNetCore.planning_options import add_planning_options, positive, whole_number, with_pairs


def make_parser() -> Parser:
    parser = Parser(
        prog="python -m DinoUNetCore.train",
        description="Train Dino U-Net on labelled images in nnU-Net's raw layout (dataset.json, imagesTr, labelsTr).",
        argument_default=argparse.SUPPRESS,  # only options that were given are compared when a run is resumed
        formatter_class=argparse.HelpFormatter,
    )
    add_planning_options(parser)
    add = parser.add_argument
    add("-o", "--output", required=True, metavar="RUN", help="folder of this run")
    add("--resume", action="store_true", help="go on with the run in RUN, or begin it if there is none")
    add("--fold", type=int, help="fold to validate on (default: 0)")
    add("--recipe", choices=("default", "paper"), help="optimizer and schedule (default: default)")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--epochs", type=positive(int), help="number of epochs (default: the recipe's)")
    length.add_argument("--minutes", type=positive(float), help="train as many epochs as fit into this time")
    add("--iterations", type=positive(int), help="batches per epoch (default: the recipe's)")
    add("--learning-rate", type=positive(float), help="highest learning rate (default: the recipe's)")
    backbone_help = "hub, random, a file or folder of DINOv3 weights, or timm's name for others"
    add("--backbone", metavar="SOURCE", help=f"{backbone_help} (default: hub; tiny: random)")
    add_license_option(parser)
    add("--workers", type=whole_number, help="processes that prepare batches (default: by device)")
    add("--threads", type=positive(int), help="CPU threads (default: all)")
    add("--name", help="name of the model (default: data set and variant)")
    add("--keep-prepared", action="store_true", help="keep RUN/prepared, the resampled slices, after the end")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    started = time.monotonic()
    given = vars(make_parser().parse_args(arguments))
    folder, resume = Path(given.pop("output")), given.pop("resume", False)
    accept_license = given.pop("accept_dinov3_license", False)
    train(with_pairs(given), folder, resume, started, accept_license)


def train(given: dict[str, Any], folder: Path, resume: bool, started: float, accept_license: bool = False) -> None:
    """given: the settings a user chose, by the names of `Settings`."""
    os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")  # older PyTorch lacks some operations on Apple's GPUs
    import torch

    from DinoUNetCore.dataset.preprocessing import prepare_cases, remove_prepared
    from DinoUNetCore.device import choose_device
    from DinoUNetCore.files import remove_partial, write_json
    from DinoUNetCore.inference.segmenter import Segmenter
    from DinoUNetCore.training.bundling import make_bundle, with_metrics
    from DinoUNetCore.training.planning import plan_training
    from DinoUNetCore.training.settings import Settings
    from DinoUNetCore.training.start import hardware, make_network
    from DinoUNetCore.training.trainer import Trainer
    from DinoUNetCore.training.validation import measure_volumes
    from DinoUNetCore.weights.dinov3 import check_backbone_file

    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; name a new folder for the run.")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError("training on several processes (torchrun) is not supported yet; start it as one process.")
    settings_file = folder / "settings.json"
    if settings_file.exists():
        if not resume:
            raise UserError(f"{folder} holds a training already; add --resume to go on, or name another folder.")
        settings = Settings.load(settings_file).resumed_with(given, folder)
        remove_partial(folder)
    else:
        if folder.exists() and any(folder.iterdir()):
            raise UserError(f"{folder} holds other files; name a new folder for the run.")
        settings = Settings.from_dict(given)
    if (folder / "metrics.json").exists() and settings == Settings.load(settings_file):
        say(f"{folder} is finished: its model is {folder / 'bundle'}.")
        return

    device = choose_device(settings.device)  # what is mistyped is told before anything is read
    if settings.backbone_source not in ("hub", "random"):
        check_backbone_file(settings.backbone_source)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    # All that can be wrong is told before anything is written, so that the same command can be given again, mended.
    with progress_bar("reading cases") as progress:
        planned = plan_training(settings, folder / "plan.json", progress)
    dataset, plan = planned.dataset, planned.plan
    training, validation = plan.training_and_validation(settings.fold)
    network = with_license(lambda: make_network(settings, plan, say), accept_license)
    for note in [*plan.warnings, *planned.notes]:
        say(f"warning: {note}")
    (folder / "metrics.json").unlink(missing_ok=True)  # of a shorter training: this one is not finished yet
    settings.save(settings_file)  # also when resumed: the number of epochs may have grown
    plan.save(folder / "plan.json")
    if planned.fingerprint is not None:
        planned.fingerprint.save(folder / "fingerprint.json")
    with progress_bar("preparing cases") as progress:
        cases = prepare_cases(
            dataset, plan, folder / "prepared", resample_channels=settings.resample_channels, progress=progress
        )

    trainer = Trainer(settings, dataset, plan, cases, network, folder, started, say)
    say(
        f"Training {settings.variant} on {len(training)} cases, validating on {len(validation)} "
        f"(fold {settings.fold}), on {hardware(device)}. "
        f"Patches {plan.patch_size[0]}x{plan.patch_size[1]}, batch {plan.batch_size}."
    )
    trainer.run()

    facts = {
        "data_set": dataset.name,
        "training_cases": len(training),
        "validation_cases": len(validation),
        "fold": settings.fold,
        "validated_on_training_cases": plan.validates_on_training_cases,
        "recipe": settings.recipe,
        "epochs": len(trainer.history),
        "iterations_per_epoch": trainer.iterations,
        "batch_size": plan.batch_size,
        "best_epoch": trainer.best_epoch,
        "minutes": round(sum(row["seconds"] for row in trainer.history) / 60, 1),
        "hardware": hardware(device),
        "seed": settings.seed,
    }
    bundle = make_bundle(trainer.network, plan, settings, trainer.labels, facts)
    with progress_bar("measuring whole images") as progress:
        metrics = measure_volumes(
            Segmenter(bundle, settings.device, precision=settings.precision, network=trainer.network).segment,
            dataset,
            validation,
            unit=plan.unit,
            resample_channels=settings.resample_channels,
            progress=progress,
        )
    curves = (folder / "curves.png").read_bytes() if (folder / "curves.png").is_file() else None
    with_metrics(bundle, metrics, curves).save(folder / "bundle", overwrite=True)
    metrics = {"validated_on_training_cases": plan.validates_on_training_cases, **metrics}
    write_json(folder / "metrics.json", metrics)
    if not settings.keep_prepared:
        remove_prepared(folder / "prepared")
    say(_summary(metrics, folder))


def _summary(metrics: dict[str, Any], folder: Path) -> str:
    rows = [(name, row) for name, row in metrics["labels"].items()] + [("mean", metrics["mean"])]
    width = max(len(name) for name, _ in rows)
    lines = [f"{'Validation':<{width}}   Dice   HD95 {metrics['unit']}"]
    for name, row in rows:
        dice = "    -" if row["dice"] is None else f"{row['dice']:5.3f}"
        hd95 = "       -" if row["hd95"] is None else f"{row['hd95']:8.2f}"
        lines.append(f"{name:<{width}}  {dice}  {hd95}")
    return "\n".join([*lines, f"The model is {folder / 'bundle'}; pictures and numbers are beside it."])


if __name__ == "__main__":
    run(main)
