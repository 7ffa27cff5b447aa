"""Whether networks are rewritten for inference here: where that computes rightly, and faster.

On the CPUs of most computers, x86, it does; README has the figures. On other devices both ways are tried once with a
network that has random weights: kernels for maps with their channels last may be slow or missing there, or wrong. So
layout and rewriting are chosen by measurement, for each kind of device, precision and version of PyTorch.
"""

import platform
import time
from collections.abc import Callable
from contextlib import nullcontext
from copy import deepcopy
from pathlib import Path

import torch
from torch import Tensor

from DinoUNetCore.device import wait_for
from DinoUNetCore.measurements import key_of, memory_file, recalled, remember
from DinoUNetCore.memory import give_back, is_out_of_memory
from DinoUNetCore.network.dino_unet import DinoUNet
from DinoUNetCore.network.ensemble import Ensemble
from DinoUNetCore.network.optimized import optimize

MEASURED_CPUS = ("x86_64", "amd64")
"""Kinds of processors, in small letters, on which the rewritten network was measured."""

VARIANT, SIDE = "small", 256
"""Of the network that is tried, and of the image it sees."""

ROUNDS = 4
"""Times that both networks are timed in turn, after one that warms up; the best counts."""

MARGIN = 1.1
"""How many times faster the plain network has to be to be taken: chance, or a second process, shall not decide."""

LARGEST_ERROR = 0.1
"""Root mean square of the differences from the CPU's float32 features, in standard deviations of these. Short types
stay well below; what is computed from the wrong numbers comes nowhere near.
"""

Network = DinoUNet | Ensemble


def for_inference(network: Network, device: torch.device, say: Callable[[str], None] | None = None) -> Network:
    """The network on its device, rewritten by `optimize` if that pays there, else as it is, for evaluation.

    say: takes a sentence if the device is tried, and if it computes wrongly.
    """
    if device.type == "cpu" and platform.machine().lower() in MEASURED_CPUS:
        return optimize(network)
    if pays(device, network.dtype, say or _say_nothing, memory_file()):
        return optimize(network)
    return network.requires_grad_(False).eval()


def pays(device: torch.device, dtype: torch.dtype, say: Callable[[str], None], memory: Path | None) -> bool:
    """Whether rewriting does on this device, for networks that multiply matrices in `dtype`.

    memory: the file of `measurements`; None: it is measured in any case.
    """
    key = key_of(device, "rewritten network", dtype)
    known = recalled(memory, key)
    if known is not None:
        return known
    say(f"Finding out how networks compute fastest on {device} in {_name(dtype)}; this is done once.")
    try:
        known = _tried(device, dtype, say)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return True  # as on most devices; what is left of the memory is for the network itself
    finally:
        give_back(device)
    remember(memory, key, known)
    return known


@torch.inference_mode()
def _tried(device: torch.device, dtype: torch.dtype, say: Callable[[str], None]) -> bool:
    plain = trial_network()
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, 1, SIDE, SIDE, generator=generator)
    expected = plain.features(image)
    plain, image = plain.to(device), image.to(device)
    short = nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype)

    def plainly() -> Tensor:
        with short:
            return plain.features(image)

    try:
        rewritten = optimize(deepcopy(plain), dtype)
        right = agree(rewritten.features(image), expected)
    except (RuntimeError, NotImplementedError) as error:
        if is_out_of_memory(error):
            raise
        return False  # a kernel is missing
    if not agree(plainly(), expected):
        if not right:
            say(
                f"On {device} the network's results in {_name(dtype)} are not those of the CPU; look at results before "
                "you trust them, or choose the device cpu."
            )
        return right
    return right and _faster(lambda: rewritten.features(image), plainly, device)


def trial_network() -> DinoUNet:
    """Random weights of which none is without effect, whatever was drawn before; what is drawn after is as before."""
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        network = DinoUNet(VARIANT).eval().requires_grad_(False)
        for name, parameter in network.named_parameters():
            if "gamma_" in name:  # LayerScale begins with almost nothing
                parameter.uniform_(0.1, 0.3)
    return network


def agree(found: Tensor, expected: Tensor) -> bool:
    """Whether features are the expected ones, which lie on the CPU, but for rounding."""
    error = (found.float().cpu() - expected).square().mean().sqrt()
    return bool(error <= LARGEST_ERROR * expected.std())  # not so if it is no number


def _faster(ours: Callable[[], Tensor], theirs: Callable[[], Tensor], device: torch.device) -> bool:
    best = [float("inf")] * 2
    for number in range(ROUNDS + 1):
        for which, turn in enumerate((ours, theirs)):
            wait_for(device)
            started = time.perf_counter()
            turn()
            wait_for(device)
            if number:
                best[which] = min(best[which], time.perf_counter() - started)
    return best[0] < MARGIN * best[1]


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _say_nothing(_sentence: str) -> None:
    pass
