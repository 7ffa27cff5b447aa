"""Freed memory is kept for the next map, and given back when asked for."""

import subprocess
import sys

import pytest

SCRIPT = """
import psutil, torch
from DinoUNetCore.allocator import give_freed_memory_back, keep_freed_memory
process = psutil.Process()
if {keep}:
    if not keep_freed_memory():
        raise SystemExit(77)
x = torch.ones(25_000_000)  # 100 MB
full = process.memory_info().rss
del x
print((full - process.memory_info().rss) // 1_000_000, end=" ")
give_freed_memory_back()
print((full - process.memory_info().rss) // 1_000_000)
"""


def freed_megabytes(keep):
    done = subprocess.run([sys.executable, "-c", SCRIPT.format(keep=keep)], capture_output=True, text=True, timeout=120)
    if done.returncode == 77:
        pytest.skip("this system's C library is not glibc, or an old one")
    assert done.returncode == 0, done.stderr
    return [int(part) for part in done.stdout.split()]


def test_freed_memory_is_kept_until_it_is_given_back():
    at_once, at_last = freed_megabytes(keep=True)
    assert at_once < 10
    assert at_last > 90


def test_by_itself_the_system_gets_it_at_once():
    if sys.platform != "linux":
        pytest.skip("only of Linux is it known what it does")
    assert freed_megabytes(keep=False)[0] > 90
