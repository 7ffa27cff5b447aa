"""Our training beside nnU-Net v2's 2D U-Net: python Testing/Benchmarks/against_nnunet.py DATASET --nnunet-python PATH

Both get the same raw folder, the same fold (ours, written for nnU-Net as splits_final.json), the same minutes from the
start of their command (reading, planning, preprocessing, training and, as far as can be foreseen, a prediction of the
validation cases) and the same number of CPU threads. Ours is `train` with its default recipe; nnU-Net is its own
default planning, augmentation, network and schedule, shortened in the same way (nnunet_driver.py). Its planned batch is
made for a GPU's memory: --nnunet-batch-size lets it take more, smaller steps. Both then predict the validation cases,
ours with its best epoch and nnU-Net with its last one, as either does by default; on both sides without averaging over
mirror images. Both are measured by DinoUNetCore.evaluate.

nnU-Net is no dependency of ours: PATH is the interpreter of an environment of its own (pip install nnunetv2). With
--together both run at the same time with half the threads each, so that other work on the machine slows both alike;
otherwise one after the other. The work folder is gone on with where it stands, which --minutes then does not know of.

Prints JSON: per case the foreground's Dice and HD95 (means over the classes) of both, and the mean of their paired
differences, ours minus nnU-Net, with the 95 % interval of a paired t-test over the cases; a table goes to the standard
error. Exit code 1 if that interval lies wholly on nnU-Net's side.
"""

import argparse
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from DinoUNetCore.command_line import Parser, run  # noqa: E402
from DinoUNetCore.dataset.folds import make_folds  # noqa: E402
from DinoUNetCore.dataset.layout import Dataset, read_dataset  # noqa: E402
from DinoUNetCore.errors import UserError  # noqa: E402
from DinoUNetCore.evaluate import evaluate  # noqa: E402
from DinoUNetCore.files import read_json, write_json  # noqa: E402
from DinoUNetCore.metrics import mean  # noqa: E402
from DinoUNetCore.training.settings import Settings  # noqa: E402

DRIVER = Path(__file__).with_name("nnunet_driver.py")
PACKAGES = ("dinounet-slicer", "torch", "numpy", "scipy", "SimpleITK")
BETTER = {"dice": 1, "hd95": -1}  # the sign of a difference that speaks for ours
SECONDS_BETWEEN_LOOKS = 1.0


def main() -> None:
    options = parse()
    dataset = read_dataset(options.dataset)
    if not (dataset.folder.name.startswith("Dataset") and dataset.folder.name[7:10].isdecimal()):
        raise UserError(f"nnU-Net wants a name such as Dataset123_Name for the folder {dataset.folder}; rename it.")
    if subprocess.run([options.nnunet_python, "-c", "import nnunetv2"], capture_output=True).returncode:
        raise UserError(f"{options.nnunet_python} cannot import nnunetv2; name the Python of an environment that can.")
    folder = options.folder
    remember(options, folder / "options.json")
    splits = make_splits(dataset, options.fold)
    write_json(folder / "splits_final.json", splits)
    validation = splits[options.fold]["val"]
    copy_images(dataset, validation, folder / "images")

    threads = max(1, options.threads // 2) if options.together else options.threads
    sides = [our_side(options, dataset, threads), nnunet_side(options, dataset, threads)]
    run_sides(sides, options.together)
    if read_json(folder / "ours" / "plan.json")["folds"] != [split["val"] for split in splits]:
        raise UserError(f"{folder / 'ours' / 'plan.json'} has other folds than {folder / 'splits_final.json'}.")

    measured = {
        side.name: evaluate(side.predictions, dataset.folder / "labelsTr", allow_missing=True) for side in sides
    }
    report = {
        "data_set": dataset.name,
        "fold": options.fold,
        "training_cases": len(splits[options.fold]["train"]),
        "validation_cases": len(validation),
        "minutes": options.minutes,
        "together": options.together,
        "threads_of_each": threads,
        "cores": os.cpu_count(),
        "device": options.device,
        "mirroring_in_prediction": False,
        "ours": our_facts(options, folder) | sides[0].record() | summary(measured["ours"]),
        "nnunet": read_json(folder / "nnunet" / "facts.json") | sides[1].record() | summary(measured["nnunet"]),
        **compare(measured["ours"], measured["nnunet"], validation),
    }
    print(table(report), file=sys.stderr)
    print(json.dumps(report, indent=2))
    if options.output:
        write_json(options.output, report)
    sys.exit(0 if all(row["not_below"] for row in report["difference"].values()) else 1)


def parse() -> argparse.Namespace:
    parser = Parser(prog=Path(__file__).name, description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("dataset", type=Path, metavar="DATASET", help="nnU-Net raw folder, such as .../Dataset004_Hippocampus")
    add("--nnunet-python", required=True, metavar="PATH", help="Python of an environment that has nnunetv2")
    add("--folder", type=Path, required=True, help="work folder; what is finished there is not done again")
    add("--minutes", type=float, default=30.0, help="for each of both")
    add("--threads", type=int, default=os.cpu_count(), help="CPU threads (with --together: of both)")
    add("--processes", type=int, default=0, help="loader processes of each; 0: batches are prepared in between")
    add("--fold", type=int, default=0, help="of our plan")
    add("--together", action="store_true", help="both at the same time, each with half the threads")
    add("--nnunet-batch-size", type=int, metavar="N", help="instead of the one that nnU-Net plans")
    add("--variant", default="tiny", help="of ours")
    add("--device", default="cpu", choices=("cpu", "cuda"), help="of both")
    add("--extra", nargs="*", default=[], help="further options for our training, without their dashes")
    add("-o", "--output", type=Path, metavar="FILE", help="also write the JSON to this file")
    options = parser.parse_args()
    options.dataset, options.folder = options.dataset.resolve(), options.folder.resolve()
    return options


def remember(options: argparse.Namespace, file: Path) -> None:
    """UserError if what is compared has changed since the work folder was begun."""
    ours = {name: value for name, value in vars(options).items() if name not in ("output", "folder", "nnunet_python")}
    ours["dataset"] = str(options.dataset)
    if file.exists() and read_json(file) != ours:
        raise UserError(f"{file} says that {file.parent} was begun with other options; name another folder.")
    write_json(file, ours)


def make_splits(dataset: Dataset, fold: int) -> list[dict[str, list[str]]]:
    """The folds that our plan will have, as nnU-Net reads them."""
    folds = make_folds(dataset.cases, Settings.seed).validation
    if not 0 <= fold < len(folds) or len(folds) == 1:
        raise UserError(f"{dataset.folder} has {len(folds)} fold(s), and nothing is compared on fold {fold}.")
    names = {case.name for case in dataset.cases}
    return [{"train": sorted(names - set(validation)), "val": validation} for validation in folds]


def copy_images(dataset: Dataset, names: Sequence[str], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for case in dataset.cases:
        for image in case.images if case.name in names else ():
            shutil.copyfile(image, folder / image.name)


class Side:
    """One of both: its commands, one after the other, and how long each took."""

    def __init__(self, name: str, folder: Path, predictions: Path, commands: dict[str, list[Any]], **environment: Any):
        """commands: by name. Their output goes to FOLDER/NAME.log, what they took to FOLDER/NAME-times.json."""
        self.name, self.predictions, self.commands = name, predictions, commands
        self.log, self.times = folder / f"{name}.log", folder / f"{name}-times.json"
        self.environment = os.environ | {key: str(value) for key, value in environment.items()}
        self.process: psutil.Popen | None = None
        self.processor_seconds = 0.0

    def record(self) -> dict[str, Any]:
        return {"commands": read_json(self.times) if self.times.exists() else {}}

    def is_finished(self) -> bool:
        """Look after the running command, and start the next one. UserError if one failed."""
        if self.process is None:
            done = self.record()["commands"]
            self.running = next((name for name in self.commands if name not in done), None)
            if self.running is None:
                return True
            self._start()
        with suppress(psutil.Error):  # it has just ended
            self.processor_seconds = sum(self.process.cpu_times()[:4])  # its own and its ended children's
        if self.process.poll() is None:
            return False
        if self.process.returncode:
            raise UserError(f"{self.name} ended with {self.process.returncode} while {self.running}; see {self.log}.")
        self.process = None
        took = {
            "wall_minutes": round((time.monotonic() - self.started) / 60, 2),
            "processor_minutes": round(self.processor_seconds / 60, 2),
            "was_interrupted_before": self.interrupted,
        }
        write_json(self.times, self.record()["commands"] | {self.running: took})
        return False

    def _start(self) -> None:
        marker = f"--- {self.running}: "
        self.interrupted = self.log.exists() and marker in self.log.read_text(encoding="utf-8", errors="replace")
        command = [str(part) for part in self.commands[self.running]]
        with self.log.open("a", encoding="utf-8") as log:
            log.write(f"{marker}{' '.join(command)}\n")
            log.flush()
            self.started = time.monotonic()
            self.process = psutil.Popen(command, stdout=log, stderr=log, cwd=ROOT, env=self.environment)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait()


def our_side(options: argparse.Namespace, dataset: Dataset, threads: int) -> Side:
    folder, python = options.folder, [sys.executable, "-m"]
    hardware = ["--device", options.device, "--threads", threads]
    train = [*python, "DinoUNetCore.train", options.dataset, "-o", folder / "ours", "--resume", "--fold", options.fold]
    train += ["--variant", options.variant, "--minutes", options.minutes, "--workers", options.processes, *hardware]
    train += [f"--{extra}" for extra in options.extra]
    predictions = folder / "ours-predictions"
    segment = [*python, "DinoUNetCore.segment", "-m", folder / "ours" / "bundle", "-i", folder / "images"]
    segment += ["-o", predictions, "--format", dataset.file_ending, *hardware]
    return Side("ours", folder, predictions, {"training": train, "segmenting": segment}, OMP_NUM_THREADS=threads)


def nnunet_side(options: argparse.Namespace, dataset: Dataset, threads: int) -> Side:
    folder = options.folder / "nnunet"
    folder.mkdir(exist_ok=True)
    command = [options.nnunet_python, DRIVER, dataset.folder.name, folder, "--images", options.folder / "images"]
    command += ["--splits", options.folder / "splits_final.json", "--fold", options.fold, "--minutes", options.minutes]
    command += ["--threads", threads, "--processes", options.processes, "--device", options.device]
    command += ["--batch-size", options.nnunet_batch_size] if options.nnunet_batch_size else []
    return Side(
        "nnunet",
        options.folder,
        folder / "predictions",
        {"training and segmenting": command},
        OMP_NUM_THREADS=threads,
        nnUNet_raw=dataset.folder.parent,
        nnUNet_preprocessed=folder / "preprocessed",
        nnUNet_results=folder / "results",
        nnUNet_def_n_proc=threads,
        nnUNet_n_proc_DA=threads,
    )


def run_sides(sides: Sequence[Side], together: bool) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that both are stopped, too
    for group in [sides] if together else [[side] for side in sides]:
        try:
            while not all([side.is_finished() for side in group]):  # a list: all are looked after
                time.sleep(SECONDS_BETWEEN_LOOKS)
        finally:
            for side in group:
                side.stop()


def our_facts(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    plan = read_json(folder / "ours" / "plan.json")
    git = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"]
    commit = subprocess.run(git, capture_output=True, text=True).stdout.strip() if shutil.which("git") else ""
    return {
        "versions": {name: version(name) for name in PACKAGES} | {"python": sys.version.split()[0]},
        "commit": commit or None,
        "variant": options.variant,
        "options": options.extra,
        "plan": {name: plan[name] for name in ("planes", "spacing", "patch_size", "batch_size", "context_slices")},
        "training": read_json(folder / "ours" / "bundle" / "config.json")["training"],
    }


def summary(measured: dict[str, Any]) -> dict[str, Any]:
    labels = {name: {metric: row[metric] for metric in BETTER} for name, row in measured["labels"].items()}
    return {"mean": {metric: measured["mean"][metric] for metric in BETTER}, "labels": labels}


def compare(ours: dict[str, Any], theirs: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Per case both sides' means over the foreground classes, and their paired differences."""
    cases = {
        name: {
            side: {metric: mean(row[metric] for row in measured["cases"][name].values()) for metric in BETTER}
            for side, measured in (("ours", ours), ("nnunet", theirs))
        }
        for name in names
    }
    return {
        "unit": ours["unit"],
        "interval": "95 %, paired t over the cases; ours minus nnU-Net",
        "difference": {metric: paired_difference(cases, metric) for metric in BETTER},
        "cases": cases,
    }


def paired_difference(cases: dict[str, Any], metric: str) -> dict[str, Any]:
    from scipy.stats import ttest_rel

    pairs = [(case["ours"][metric], case["nnunet"][metric]) for case in cases.values()]
    pairs = [pair for pair in pairs if None not in pair]
    difference = mean(a - b for a, b in pairs)
    low, high = ttest_rel(*zip(*pairs, strict=True)).confidence_interval(0.95)
    if not math.isfinite(low):  # one case, or the same difference in all
        low = high = difference
    best = max(BETTER[metric] * low, BETTER[metric] * high)
    worst = min(BETTER[metric] * low, BETTER[metric] * high)
    return {
        "cases": len(pairs),
        "ours": mean(a for a, _ in pairs),
        "nnunet": mean(b for _, b in pairs),
        "mean": difference,
        "low": float(low),
        "high": float(high),
        "better_in": sum(BETTER[metric] * (a - b) > 0 for a, b in pairs),
        "not_below": bool(best >= 0),
        "above": bool(worst > 0),
    }


def table(report: dict[str, Any]) -> str:
    lines = [f"{'':16} {'ours':>8} {'nnU-Net':>8}  difference (95 % interval)"]
    for metric, title in (("dice", "Dice"), ("hd95", f"HD95 {report['unit']}")):
        row = report["difference"][metric]
        difference = f"{row['mean']:+.4f} ({row['low']:+.4f} to {row['high']:+.4f})"
        better = f"ours better in {row['better_in']} of {row['cases']} cases"
        lines.append(f"{title:16} {row['ours']:8.4f} {row['nnunet']:8.4f}  {difference}, {better}")
        for name, ours in report["ours"]["labels"].items():
            values = [ours[metric], report["nnunet"]["labels"][name][metric]]
            lines.append(f"  {name:14.14} " + " ".join("       -" if v is None else f"{v:8.4f}" for v in values))
    return "\n".join(lines)


if __name__ == "__main__":
    run(main)
