"""The manifest of a run, by which it can be repeated: what was trained on, with which program, and on which machine.

    settings, seed        what was asked for
    plan_sha256           of the plan as JSON, its keys in order
    data                  the data set's folder; SHA-256, size and time of dataset.json and of every image and label;
                          "sha256": of all their names and SHA-256
    began_with            SHA-256 of the weights that were there at the start: those of the bundle of --pretrained
                          ("bundle": None without one), and those of the public backbone ("backbone_sha256")
    sessions              each start of the run: command, program, Python, packages, machine; "compile": whether
                          steps were compiled, if that was asked for
"""

import hashlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil
import torch

from DinoUNetCore.dataset.layout import Dataset
from DinoUNetCore.dataset.plan import Plan
from DinoUNetCore.errors import UserError
from DinoUNetCore.files import read_json, write_json
from DinoUNetCore.training.pretrained import identify_pretrained, is_needed
from DinoUNetCore.training.settings import Settings
from DinoUNetCore.training.start import hardware
from DinoUNetCore.volume.endings import strip_ending
from DinoUNetCore.weights.bundle_files import stream_sha256

VERSION = 1
PACKAGE = "dinounet-slicer"
HEADER_ENDINGS = (".mhd", ".nhdr", ".hdr", ".hdr.gz")  # of formats that keep the voxels in a file beside
READERS = 8  # files that are read at once
SHOWN = 5  # names in a warning

Progress = Callable[[int, int], None]


def write_manifest(
    path: Path,
    settings: Settings,
    dataset: Dataset,
    plan: Plan,
    device: torch.device,
    processes: int = 1,
    progress: Progress | None = None,
    backbone_sha256: str | None = None,
    known: dict[str, dict] | None = None,
) -> list[str]:
    """Write the manifest of a run that starts; of one that goes on, add this session to it.

    processes: that train together. progress(done, total): files. backbone_sha256: of the public weights that were
    loaded, if any. known: files that were hashed for other runs, as of `hash_files`. Returns, for a run that goes on,
    sentences on what is not as it was. UserErrors: a file that cannot be read or written, a manifest that is damaged,
    another bundle than the one with which the run began.
    """
    before = _read_manifest(path) if path.exists() else {"sessions": []}
    at_start = before.get("data", {}).get("files", {})
    began_with = _began_with(settings, backbone_sha256, before, path)
    session = _session(device, processes)
    files = hash_files(dataset, {**(known or {}), **at_start}, progress)
    notes = []
    if before["sessions"]:
        notes = [*changed_files(at_start, files, path), *_changed_program(before["sessions"][0], session)]
        files = at_start  # what the run began with
    manifest = {
        "version": VERSION,
        "seed": settings.seed,
        "settings": asdict(settings),
        "plan_sha256": plan_sha256(plan),
        "data": {
            "folder": str(dataset.folder.resolve()),
            "name": dataset.name,
            "sha256": _together(files),
            "files": files,
        },
        "began_with": began_with,
        "sessions": [*before["sessions"], session],
    }
    write_json(path, manifest)
    return notes


def note_in_session(path: Path, name: str, fact: Any) -> None:
    """Add to the last session of a manifest what came out later, if there is a manifest."""
    if path.exists():
        manifest = _read_manifest(path)
        manifest["sessions"][-1][name] = fact
        write_json(path, manifest)


def plan_sha256(plan: Plan) -> str:
    """Of the plan's content, however it is written to a file."""
    return hashlib.sha256(json.dumps(plan.to_json(), sort_keys=True).encode()).hexdigest()


def _read_manifest(path: Path) -> dict[str, Any]:
    manifest = read_json(path)
    if not isinstance(manifest, dict) or not {"data", "sessions"} <= manifest.keys():
        raise UserError(f"{path} does not hold the manifest of a training; remove it, and it is written anew.")
    return manifest


def _began_with(
    settings: Settings, backbone_sha256: str | None, before: dict[str, Any], path: Path
) -> dict[str, Any] | None:
    """What the module's documentation says; None for a run whose manifest does not know it."""
    first = not before["sessions"]
    began = {"bundle": None, "backbone_sha256": backbone_sha256} if first else before.get("began_with")
    if began is None or not is_needed(settings, path.parent):
        return began
    bundle = identify_pretrained(settings)
    if first:
        return began | {"bundle": bundle}
    if began["bundle"] and began["bundle"]["weights_sha256"] != bundle["weights_sha256"]:
        raise UserError(
            f"{settings.pretrained} is not the bundle with which the training in {path.parent} began (the SHA-256 of "
            "its weights differs); name that one by --pretrained."
        )
    return began


# the data --------------------------------------------------------------------------------------------------------


def hash_files(
    dataset: Dataset, known: dict[str, dict] | None = None, progress: Progress | None = None
) -> dict[str, dict[str, Any]]:
    """{name within the data set's folder: {"sha256", "bytes", "modified"}} of dataset.json, all images and labels.

    modified: ns since 1970. known: an earlier result; files of the same size and time as there are not read again.
    """
    paths = _files_of(dataset)
    done = []

    def entry(path: Path) -> dict[str, Any]:
        state = path.stat()
        facts = {"bytes": state.st_size, "modified": state.st_mtime_ns}
        old = (known or {}).get(_name(path, dataset), {})
        if not all(old.get(key) == value for key, value in facts.items()):
            with path.open("rb") as file:
                old = {"sha256": stream_sha256(file)}
        done.append(path)
        if progress:
            progress(len(done), len(paths))
        return {"sha256": old["sha256"], **facts}

    with ThreadPoolExecutor(READERS) as pool:  # hashing and reading both let other threads run
        return dict(zip((_name(path, dataset) for path in paths), pool.map(entry, paths), strict=True))


def changed_files(before: dict[str, dict], now: dict[str, dict], manifest: Path) -> list[str]:
    """A sentence for each kind of change between two results of `hash_files`."""
    kinds = {
        "have changed": [name for name in before if name in now and before[name]["sha256"] != now[name]["sha256"]],
        "are gone": [name for name in before if name not in now],
        "are new": [name for name in now if name not in before],
    }
    return [
        f"{len(names)} file(s) of the data set {what} since this run began ({_some(names)}), as {manifest} says; for a "
        "run that can be repeated, train again into a new folder."
        for what, names in kinds.items()
        if names
    ]


def _together(files: dict[str, dict]) -> str:
    lines = "".join(f"{files[name]['sha256']}  {name}\n" for name in sorted(files))
    return hashlib.sha256(lines.encode()).hexdigest()


def _files_of(dataset: Dataset) -> list[Path]:
    paths = [dataset.folder / "dataset.json"]
    for case in dataset.cases:
        for path in (*case.images, case.label):
            paths.append(path)
            if path.name.lower().endswith(HEADER_ENDINGS):
                stem = strip_ending(path)
                paths += sorted(p for p in path.parent.iterdir() if strip_ending(p) == stem and p != path)
    return paths


def _name(path: Path, dataset: Dataset) -> str:
    return path.relative_to(dataset.folder).as_posix()


# the program and the machine -------------------------------------------------------------------------------------


def _session(device: torch.device, processes: int) -> dict[str, Any]:
    return {
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": list(sys.orig_argv),
        "folder": str(Path.cwd()),
        "program": {"name": PACKAGE, "version": _version(), **_commit()},
        "python": platform.python_version(),
        "system": platform.platform(),
        "machine": {
            "device": hardware(device),
            "processes": processes,
            "processor": _processor(),
            "cores": os.cpu_count(),
            "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
            "cuda": torch.version.cuda,
        },
        "packages": _packages(),
    }


def _packages() -> dict[str, str]:
    """All that is installed, by name."""
    found = {d.metadata["Name"]: d.version for d in metadata.distributions() if d.metadata["Name"]}
    return dict(sorted(found.items(), key=lambda item: item[0].casefold()))


def _version() -> str | None:
    try:
        return metadata.version(PACKAGE)
    except metadata.PackageNotFoundError:  # run from a folder, as Slicer does
        return None


def _commit() -> dict[str, Any]:
    """The git commit of the program, and whether files differ from it; nothing if it is no checkout."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return {}
    try:
        commit, changed = (
            subprocess.run(
                ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=30, check=True
            ).stdout.strip()
            for arguments in (("rev-parse", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
        )
    except (OSError, subprocess.SubprocessError):
        return {}
    return {"commit": commit, "changed_since_commit": bool(changed)}


def _processor() -> str:
    """Its name; Linux has it in a file only."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def _changed_program(first: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Sentences on what differs between two sessions in what is computed."""
    notes = []
    if first["program"] != now["program"]:
        notes.append("the program is not the one with which this run began.")
    old, new = first["packages"], now["packages"]
    others = [f"{name} {old[name]}, now {new.get(name, 'missing')}" for name in old if old[name] != new.get(name)]
    if others:
        notes.append(f"{len(others)} package(s) are not as they were when this run began ({_some(others)}).")
    return notes


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
