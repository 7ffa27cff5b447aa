"""Python in a process of its own, with its seconds and its highest memory: for benchmarks. Linux and macOS.

A child's highest memory is never below its parent's at the fork, so what uses this imports neither numpy nor torch.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def run_python(*arguments: str) -> tuple[int, float]:
    """(highest resident memory in bytes, seconds) of Python with these arguments; it sees the package and benchmarks.

    What it prints goes to the standard error. Ends this process, too, where it fails.
    """
    paths = [str(ROOT), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in paths if path)}
    started = time.monotonic()
    process = subprocess.Popen([sys.executable, *arguments], env=environment, stdout=sys.stderr)
    _, status, usage = os.wait4(process.pid, 0)  # this child's numbers alone
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"error: {arguments} ended with {process.returncode}")
    unit = 1 if sys.platform == "darwin" else 1024
    return usage.ru_maxrss * unit, round(time.monotonic() - started, 1)
