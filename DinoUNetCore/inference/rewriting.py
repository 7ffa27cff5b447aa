"""Whether networks are rewritten for inference here: where the results are right then, and come faster.

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
from torch import Tensor, nn

from DinoUNetCore.device import wait_for
from DinoUNetCore.measurements import key_of, memory_file, recalled, remember
from DinoUNetCore.memory import give_back, is_out_of_memory
from DinoUNetCore.network.dino_unet import DinoUNet
from DinoUNetCore.network.ensemble import Ensemble
from DinoUNetCore.network.optimized import optimize

MEASURED_CPUS = ("x86_64", "amd64")
"""Kinds of processors, in small letters, on which the rewritten network was measured."""

VERSION = 1
"""Of the rewriting: raised with every change after which what was found before may no longer hold."""

VARIANT, BATCH, SIDE = "small", 2, 256
"""Of the network that is tried, and of the images it sees."""

SIDE_ON_GPUS = 512
"""Of the images with which both ways are timed on a GPU, which smaller ones do not fill."""

ROUNDS = 3
"""Times that each way is timed, after a pass that warms up; the best counts."""

MARGIN = 1.1
"""How many times faster the plain network has to be to be taken: chance, or a second process, shall not decide."""

LARGEST_ERROR = 0.1
"""Root mean square of the differences from the CPU's float32 features, in standard deviations of these. Short types
stay well below; what is computed from the wrong numbers comes nowhere near.
"""

Network = DinoUNet | Ensemble
Way = Callable[[Tensor], Tensor]


def for_inference(network: Network, device: torch.device, say: Callable[[str], None] | None = None) -> Network:
    """The network on its device, rewritten by `optimize` if that pays there, else as it is, for evaluation.

    say: takes a sentence if the device computes wrongly.
    """
    if device.type == "cpu" and platform.machine().lower() in MEASURED_CPUS:
        return optimize(network)
    if pays(device, network.dtype, say or _say_nothing, memory_file()):
        return optimize(network)
    return network.requires_grad_(False).eval()


def pays(device: torch.device, dtype: torch.dtype, say: Callable[[str], None], memory: Path | None) -> bool:
    """Whether rewriting pays on this device, for networks that multiply matrices in `dtype`; trying takes seconds.

    memory: the file of `measurements`; None: it is measured in any case.
    """
    key = key_of(device, platform.machine(), f"rewriting {VERSION}", dtype)
    known = recalled(memory, key)
    if known is not None:
        return known
    try:
        found, is_sure = _tried(device, dtype, say)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        found, is_sure = True, False  # as on most devices; what is left of the memory is for the network itself
    finally:
        give_back(device)
    if is_sure:
        remember(memory, key, found)
    return found


@torch.inference_mode()
def _tried(device: torch.device, dtype: torch.dtype, say: Callable[[str], None]) -> tuple[bool, bool]:
    """Whether it pays, and whether this is sure enough to be remembered."""
    plain = trial_network()
    images = torch.rand(BATCH, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    expected = plain.features(images)
    rewritten = deepcopy(plain).to(device)
    plain, images = plain.to(device), images.to(device)

    def plainly(images: Tensor) -> Tensor:
        with nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype):
            return plain.features(images)

    def rewritten_features(images: Tensor) -> Tensor:
        if rewritten.wants_autocast:
            optimize(rewritten, dtype)
        return rewritten.features(images)

    ours, theirs = (is_right(way, images, expected) for way in (rewritten_features, plainly))
    if ours and theirs:
        timed = images if device.type == "cpu" else torch.rand(BATCH, 1, SIDE_ON_GPUS, SIDE_ON_GPUS, device=device)
        return _best_time(rewritten_features, timed, device) < MARGIN * _best_time(plainly, timed, device), True
    if ours or theirs:
        return bool(ours), None not in (ours, theirs)
    rewrites = ours is not None or theirs is None  # none is right; one that runs at all is taken
    if (ours if rewrites else theirs) is False:
        precision = str(dtype).removeprefix("torch.")
        say(
            f"On {device} the network's results in {precision} are not those of the CPU; look at results before you "
            "trust them, or choose the device cpu."
        )
    return rewrites, False


def trial_network() -> DinoUNet:
    """Random weights of which none is without effect, whatever was drawn before; what is drawn after is as before."""
    with torch.random.fork_rng([]):
        torch.default_generator.manual_seed(0)  # of the CPU alone
        network = DinoUNet(VARIANT).eval().requires_grad_(False)
        for name, parameter in network.named_parameters():
            if "gamma_" in name:  # LayerScale begins with almost nothing
                parameter.uniform_(0.1, 0.3)
            elif parameter.ndim == 1 or not parameter.any():
                parameter.add_(0.05 * torch.randn_like(parameter))
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
    return network


def is_right(way: Way, images: Tensor, expected: Tensor) -> bool | None:
    """Whether features are those expected; None if computing them fails otherwise than by a kernel that is missing."""
    try:
        return agree(way(images), expected)
    except NotImplementedError:
        return False
    except (RuntimeError, TypeError) as error:  # a type that a device lacks may be either
        if is_out_of_memory(error):
            raise
        return None


def agree(found: Tensor, expected: Tensor) -> bool:
    """Whether features are the expected ones, which lie on the CPU, but for rounding."""
    error = (found.float().cpu() - expected).square().mean().sqrt()
    return bool(error <= LARGEST_ERROR * expected.std())  # NaN is not


def _best_time(way: Way, images: Tensor, device: torch.device) -> float:
    """Seconds of a pass that comes after one of the same network."""
    taken = []
    for _ in range(ROUNDS + 1):
        wait_for(device)
        started = time.perf_counter()
        way(images)
        wait_for(device)
        taken.append(time.perf_counter() - started)
    return min(taken[1:])


def _say_nothing(_sentence: str) -> None:
    pass
