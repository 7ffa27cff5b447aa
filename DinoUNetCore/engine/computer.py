"""What the engine runs on: packages, devices, and how many of its cores to use."""

import platform
from functools import cache
from importlib import metadata
from typing import Any

_OURS = ("dinounet-slicer", "torch", "torchvision", "timm", "safetensors", "huggingface_hub", "psutil")
PACKAGES = (*_OURS, "SimpleITK", "numpy")


def versions() -> dict[str, str | None]:
    """{package: its version, or None if it is missing}, and that of Python. Nothing is imported."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def devices() -> list[dict[str, Any]]:
    """The names to choose from, with a description and memory in bytes (None where it is not known); best ones first.

    Without torch there is none.
    """
    try:
        import torch
    except ModuleNotFoundError:
        return []
    found = []
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(index)
            found.append(_device(f"cuda:{index}", torch.cuda.get_device_name(index), free, total))
    if torch.backends.mps.is_available():
        found.append(_device("mps", "Apple GPU", None, None))
    found.append(_device("cpu", platform.processor() or platform.machine(), *_memory()))
    return found


def _device(name: str, description: str, free: int | None, total: int | None) -> dict[str, Any]:
    return {"name": name, "description": description, "free_bytes": free, "total_bytes": total}


def _memory() -> tuple[int, int]:
    """(free, total) bytes of the computer's memory."""
    import psutil

    memory = psutil.virtual_memory()
    return memory.available, memory.total


@cache
def usual_threads() -> int:
    """CPU threads to compute with: torch's choice, less one that keeps the computer responsive where there are more
    than two. To be asked before the number is changed.
    """
    import torch

    threads = torch.get_num_threads()
    return threads - 1 if threads > 2 else threads
