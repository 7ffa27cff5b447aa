"""Show what would be trained, and why, before training: python -m DinoUNetCore.plan DATASET [-o FOLDER]."""

import argparse
import shutil
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from DinoUNetCore.command_line import Parser, run
from DinoUNetCore.console import progress_bar, say
from DinoUNetCore.errors import UserError
from DinoUNetCore.planning_options import add_planning_options, with_pairs

if TYPE_CHECKING:
    from DinoUNetCore.training.planning import Planned

PLAN, FINGERPRINT = "plan.json", "fingerprint.json"
SAMPLES_PICTURE, FINGERPRINT_PICTURE = "samples.png", "fingerprint.png"
WRITTEN = (PLAN, FINGERPRINT, SAMPLES_PICTURE, FINGERPRINT_PICTURE)
SAMPLE_CASES = {2: 12, 3: 5}  # by dimension: pictures may be no larger than a patch
WIDEST = 140  # characters of a line that is still easily read


def make_parser() -> Parser:
    parser = Parser(
        prog="python -m DinoUNetCore.plan",
        description="Check a data set in nnU-Net's raw layout and show all that the planner decides, with its reasons. "
        "With -o, write plan.json and fingerprint.json, and pictures of the data set and of patches as the network "
        "will see them.",
        argument_default=argparse.SUPPRESS,
        formatter_class=argparse.HelpFormatter,
    )
    parser.add_argument("-o", "--output", metavar="FOLDER", help="folder to write to (default: only show the table)")
    parser.add_argument("--overwrite", action="store_true", help="replace what an earlier plan wrote into FOLDER")
    add_planning_options(parser)
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    given = vars(make_parser().parse_args(arguments))
    output, overwrite = given.pop("output", None), given.pop("overwrite", False)
    plan(with_pairs(given), Path(output) if output else None, overwrite)


def plan(given: dict[str, Any], folder: Path | None = None, overwrite: bool = False) -> None:
    """given: the settings a user chose, by the names of `Settings`. folder: None writes nothing."""
    if folder is not None:
        _check_output(folder, overwrite)
    from DinoUNetCore.dataset.plan_table import class_table, plan_table
    from DinoUNetCore.training.planning import plan_training
    from DinoUNetCore.training.settings import Settings

    settings = Settings.from_dict(given)
    with progress_bar("reading cases") as progress:
        planned = plan_training(settings, progress=progress)
    made = planned.plan
    channels = ", ".join(made.channel_names)
    say(f"{made.dataset}: {len(planned.fingerprint.cases)} case(s) of {channels}, for {made.variant}\n")
    say(plan_table(made, min(shutil.get_terminal_size().columns, WIDEST)) + "\n")
    say(class_table(made, planned.fingerprint))
    for warning in [*made.warnings, *planned.notes]:
        say(f"warning: {warning}")
    if folder is not None:
        _write(planned, folder, settings.resample_channels)


def _check_output(folder: Path, overwrite: bool) -> None:
    if find_spec("matplotlib") is None:
        raise UserError('matplotlib is not installed; run python -m pip install "dinounet-slicer[train]".')
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; name a folder by -o.")
    for name in WRITTEN:
        if (folder / name).exists() and not overwrite:
            raise UserError(f"{folder / name} exists; add --overwrite to replace it, or name another folder by -o.")


def _write(planned: "Planned", folder: Path, resample_channels: bool) -> None:
    from DinoUNetCore.dataset.preprocessing import prepare_cases
    from DinoUNetCore.training.fingerprint_picture import draw_fingerprint
    from DinoUNetCore.training.sample_patches import plan_for_samples
    from DinoUNetCore.training.samples_picture import draw_samples

    made = planned.plan
    planned.fingerprint.save(folder / FINGERPRINT)
    made.save(folder / PLAN)
    draw_fingerprint(folder / FINGERPRINT_PICTURE, made, planned.fingerprint)
    count = max(1, SAMPLE_CASES[made.dimension] // len(made.planes))
    samples = plan_for_samples(made, planned.fingerprint, count)
    # Windows keeps mapped files until the process ends
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as prepared, progress_bar("preparing samples") as bar:
        cases = prepare_cases(
            planned.dataset, samples, Path(prepared), resample_channels=resample_channels, progress=bar
        )
        in_order = [case for name in samples.folds[0] for case in cases[name]]
        draw_samples(folder / SAMPLES_PICTURE, made, planned.fingerprint, in_order)
    say(
        f"\nIn {folder}:\n"
        f"  {PLAN:<17}  the choices; edit them and train with --plan {folder / PLAN}\n"
        f"  {FINGERPRINT:<17}  what was measured of every case\n"
        f"  {SAMPLES_PICTURE:<17}  patches as the network will see them: have a look\n"
        f"  {FINGERPRINT_PICTURE:<17}  intensities, sizes, spacings and classes"
    )


if __name__ == "__main__":
    run(main)
