"""How soon commands and the engine answer: python Testing/Benchmarks/start_up.py

In turns, so that other programs slow all alike: every command's `--help` (limit 0.5 s for segment), and the engine from
starting its process to its answer to `hello`, which names the devices, against `python -c "import torch, timm"` (limit
1.5 times that). Prints JSON with medians of seconds; a table goes to the standard error. Exit code 1 above a limit.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "Testing"), str(ROOT)]

from engine_client import EngineProcess  # noqa: E402

LIMIT_HELP_SECONDS, LIMIT_HELLO_BY_IMPORT = 0.5, 1.5
HELLO, IMPORT, BARE = "engine to hello", "import torch, timm", "python alone"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7, help="of everything in turn, after one that warms up")
    parser.add_argument("-o", "--output", type=Path, help="also write the JSON to this file")
    options = parser.parse_args()
    report = measure(options.rounds)
    for name, seconds in report["seconds"].items():
        print(f"{name:22}{seconds:8.3f} s", file=sys.stderr)
    text = json.dumps(report, indent=2)
    print(text)
    if options.output:
        options.output.write_text(text + "\n", encoding="utf-8")
    return 0 if report["within_limits"] else 1


def measure(rounds: int) -> dict:
    turns: dict[str, Callable[[], None]] = {
        BARE: partial(run_python, "-c", "pass"),
        IMPORT: partial(run_python, "-c", "import torch, timm"),
        HELLO: say_hello,
    }
    turns |= {f"{name} --help": partial(run_python, "-m", f"DinoUNetCore.{name}", "--help") for name in commands()}
    seconds = {name: [] for name in turns}
    ratios = []
    for number in range(rounds + 1):
        taken = {name: timed(turn) for name, turn in turns.items()}
        if number == 0:  # files come from the disk
            continue
        for name in turns:
            seconds[name].append(taken[name])
        ratios.append(taken[HELLO] / taken[IMPORT])
    medians = {name: round(statistics.median(values), 3) for name, values in seconds.items()}
    ratio = statistics.median(ratios)
    return {
        "rounds": rounds,
        "seconds": medians,
        "hello_by_import": round(ratio, 2),
        "limits": {"segment_help_seconds": LIMIT_HELP_SECONDS, "hello_by_import": LIMIT_HELLO_BY_IMPORT},
        "within_limits": medians["segment --help"] <= LIMIT_HELP_SECONDS and ratio <= LIMIT_HELLO_BY_IMPORT,
    }


def commands() -> list[str]:
    """The modules of the package that are run by `python -m`."""
    files = sorted((ROOT / "DinoUNetCore").glob("*.py"))
    return [file.stem for file in files if 'if __name__ == "__main__":' in file.read_text(encoding="utf-8")]


def say_hello() -> None:
    engine = EngineProcess()
    try:
        engine.ask("hello").result  # noqa: B018 - fails where there is none
    finally:
        engine.end()


def run_python(*arguments: str) -> None:
    subprocess.run([sys.executable, *arguments], cwd=ROOT, stdout=subprocess.DEVNULL, check=True)


def timed(turn: Callable[[], None]) -> float:
    started = time.perf_counter()
    turn()
    return time.perf_counter() - started


if __name__ == "__main__":
    sys.exit(main())
