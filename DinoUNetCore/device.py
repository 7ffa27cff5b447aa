"""Which device and which precision to compute in."""

import torch

from DinoUNetCore.errors import UserError

PRECISIONS = ("auto", "float32", "bfloat16", "float16")


def choose_device(name: str = "auto") -> torch.device:
    """ "auto" means CUDA, then MPS, then CPU. UserError for a device that this machine does not have."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    available = ["cpu"]
    if torch.cuda.is_available():
        available += ["cuda", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        available.append("mps")
    if name not in available:
        raise UserError(f"this machine has no device {name!r}; choose auto or one of {', '.join(available)}.")
    return torch.device(name)


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """The dtype for autocast; float32 means none. "auto": bfloat16 (or float16) on CUDA, float32 elsewhere."""
    if name == "auto":
        if device.type != "cuda":
            return torch.float32
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if name == "float16" and device.type == "cpu":
        raise UserError("a CPU does not compute in float16; choose float32 or bfloat16.")
    return getattr(torch, name)


def matrix_dtype(name: str, device: torch.device) -> torch.dtype | None:
    """In which a network that computes so keeps its matrices; None: float32, or shorter where that has no room."""
    precision = choose_precision(name, device)
    return None if name == "auto" and precision == torch.float32 else precision


def wait_for(device: torch.device) -> None:
    """Until the device has done all it was given: what is timed there ends here."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
