"""How fast the network is: python Testing/Benchmarks/inference_speed.py [--variants small] [--sizes 512]

In turns and in one process, with the same random weights and one slice at a time. Of every turn the second pass counts:
in a volume a slice comes after another, and not after a different network.

    plain       the modules of the paper's figure as they are: in float32, on a GPU under autocast in bfloat16
    as usual    the same in a process of its own in which freed memory is left to the C library, as Python does (CPU)
    float32     rewritten by `optimize`
    bfloat16    rewritten by `optimize` in bfloat16, as `segment --precision bfloat16` runs it

and the machine's own rate of matrix products. Prints JSON: per slice the median of seconds, plain's and the usual
seconds divided by these (the median of the rounds' ratios), the share of the machine's rate in the same dtype
(operations are those of the plain network, however few are left), and the largest difference of logits from plain in
float32, beside how large those are. With --dice BUNDLE also the Dice of its bfloat16 segmentation of a phantom against
its float32 one. A table goes to the standard error.
"""

import argparse
import json
import multiprocessing
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from copy import deepcopy
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from DinoUNetCore.allocator import keep_freed_memory
from DinoUNetCore.device import wait_for
from DinoUNetCore.network.dino_unet import DinoUNet
from DinoUNetCore.network.optimized import optimize

PLAIN, USUAL, SHORT = "plain", "as usual", torch.bfloat16
DTYPES = {"float32": torch.float32, "bfloat16": SHORT}
MATRIX_SIDE = {"cpu": 2048, "cuda": 8192}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--variants", nargs="+", default=["tiny", "small"], help="tiny, small, base, large, ...")
    parser.add_argument("--sizes", nargs="+", type=int, default=[256, 512], help="rows and columns of a slice")
    parser.add_argument("--rounds", type=int, default=7, help="of all in turn, after one that warms up")
    parser.add_argument("--batch", type=int, default=1, help="slices at once")
    parser.add_argument("--classes", type=int, default=2)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--threads", type=int, help="of torch (default: all cores)")
    parser.add_argument("--dice", metavar="BUNDLE", help="also compare its segmentations in bfloat16 and float32")
    parser.add_argument("-o", "--output", type=Path, help="also write the JSON to this file")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    kept = device.type == "cpu" and keep_freed_memory()
    report = {
        "machine": f"{platform.machine()}, {_name(device)}, torch {torch.__version__}",
        "threads": torch.get_num_threads(),
        "freed_memory_is_kept": kept,
        "batch": options.batch,
        "slices": [],
    }
    for variant in options.variants:
        plain = make_network(variant, options.classes)
        for size in options.sizes:
            x = torch.randn(options.batch, 1, size, size)
            with usual_process(variant, options.classes, x) if kept else nullcontext() as usual:
                found = compare(plain, x, device, options.rounds, usual)
            entry = {"variant": variant, "size": size, **found}
            show(entry)
            report["slices"].append(entry)
        del plain
    if options.dice:
        report["bfloat16_against_float32"] = compare_precisions(options.dice, options.device)
    text = json.dumps(report, indent=2)
    print(text)
    if options.output:
        options.output.write_text(text + "\n", encoding="utf-8")


def make_network(variant: str, classes: int) -> DinoUNet:
    """Random weights in which every layer counts: LayerScale and the norms' statistics are not what they begin with."""
    torch.manual_seed(0)
    network = DinoUNet(variant, 1, classes).eval().requires_grad_(False)
    for name, parameter in network.named_parameters():
        if "gamma_" in name:
            parameter.uniform_(0.1, 0.3)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return network


@contextmanager
def usual_process(variant: str, classes: int, x: Tensor) -> Iterator[Callable[[], float]]:
    """Gives what has a process of its own send x through the plain network, and returns the seconds that took."""
    here, there = multiprocessing.Pipe()
    arguments = (there, variant, classes, x.shape, torch.get_num_threads())
    process = multiprocessing.get_context("spawn").Process(target=_run_as_usual, args=arguments, daemon=True)
    process.start()
    there.close()  # so that its end is noticed here

    def turn() -> float:
        here.send(True)
        return here.recv()

    try:
        yield turn
        here.send(False)
    finally:
        here.close()
        process.join(10)
        process.kill()


@torch.inference_mode()
def _run_as_usual(connection: Connection, variant: str, classes: int, shape: Sequence[int], threads: int) -> None:
    torch.set_num_threads(threads)
    network, x = make_network(variant, classes), torch.randn(shape)
    with suppress(EOFError):  # the other end is gone
        while connection.recv():
            connection.send(timed_in_stride(partial(network, x), x.device))


@torch.inference_mode()
def compare(
    plain: DinoUNet, x: Tensor, device: torch.device, rounds: int, usual: Callable[[], float] | None
) -> dict[str, Any]:
    """All figures of one variant at one size. x: (B, C, H, W) on the CPU; usual: see `usual_process`."""
    operations = count_operations(plain, x.shape)
    networks = {PLAIN: deepcopy(plain).to(device)}
    networks |= {name: optimize(deepcopy(plain).to(device), dtype) for name, dtype in DTYPES.items()}
    x = x.to(device)
    reference = networks[PLAIN](x)
    differences = {name: _difference(networks[name](x), reference) for name in DTYPES}
    eager = torch.autocast(device.type, SHORT) if device.type == "cuda" else nullcontext()

    def plain_turn() -> None:
        with eager:
            networks[PLAIN](x)

    turns: dict[str, Callable[[], Any]] = {PLAIN: plain_turn} | {name: partial(networks[name], x) for name in DTYPES}
    seconds: dict[str, list[float]] = {name: [] for name in (*turns, USUAL)}
    rates: dict[str, list[float]] = {name: [] for name in DTYPES}
    for number in range(rounds + 1):
        taken = {name: timed_in_stride(turn, device) for name, turn in turns.items()}
        if usual:
            taken[USUAL] = usual()
        for name, dtype in DTYPES.items():
            rates[name].append(matrix_rate(dtype, device))
        if number:  # the first one warms up
            for name, value in taken.items():
                seconds[name].append(value)
    best = {name: max(values) for name, values in rates.items()}
    of_plain = "bfloat16" if device.type == "cuda" else "float32"
    modes = {}
    for name, taken in seconds.items():
        if not taken:
            continue
        median = statistics.median(taken)
        modes[name] = {
            "seconds_per_slice": round(median / len(x), 5),
            "times_faster_than_plain": ratio(seconds[PLAIN], taken),
            "share_of_matrix_rate": round(operations / median / best[name if name in DTYPES else of_plain], 3),
        }
        if usual:
            modes[name]["times_faster_than_usual"] = ratio(seconds[USUAL], taken)
        if name in differences:
            modes[name]["largest_difference_of_logits"] = differences[name]
        if device.type == "cuda":
            modes[name] |= peak_memory(networks[name], turns[name], device)
    return {
        "gflop_per_slice": round(operations / len(x) / 1e9, 1),
        "largest_logit": float(reference.abs().max()),
        "gflop_per_second_of_matrix_products": {name: round(rate / 1e9, 1) for name, rate in best.items()},
        "modes": modes,
    }


def ratio(theirs: Sequence[float], ours: Sequence[float]) -> float:
    """How many times faster ours are: the median over the rounds."""
    return round(statistics.median(one / other for one, other in zip(theirs, ours, strict=True)), 2)


def count_operations(network: DinoUNet, shape: Sequence[int]) -> int:
    """Floating-point operations of a pass, a multiplication and an addition each; those of attention too, which the
    fused kernels hide. shape: of the input, (B, C, H, W).
    """
    counter = FlopCounterMode(display=False)
    with torch.device("meta"), counter, sdpa_kernel(SDPBackend.MATH):
        DinoUNet(network.variant, network.in_channels, network.num_classes).eval()(torch.empty(shape))
    return counter.get_total_flops()


def matrix_rate(dtype: torch.dtype, device: torch.device, repetitions: int = 5) -> float:
    """Operations per second of the best of a few square matrix products."""
    side = MATRIX_SIDE[device.type]
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    return 2 * side**3 / min(timed(lambda: a @ b, device) for _ in range(repetitions))


def peak_memory(network: DinoUNet, turn: Callable[[], Any], device: torch.device) -> dict[str, int]:
    """Bytes on the GPU: of the parameters, and of the pass at its peak beside them."""
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    turn()
    return {
        "weight_bytes": sum(tensor.nbytes for tensor in (*network.parameters(), *network.buffers())),
        "peak_bytes_of_a_pass": torch.cuda.max_memory_allocated(device) - before,
    }


def compare_precisions(model: str, device: str) -> dict[str, Any]:
    """Dice between the label maps of a phantom that the bundle makes in bfloat16 and in float32."""
    import SimpleITK as sitk

    from DinoUNetCore.dataset.phantom import make_phantom
    from DinoUNetCore.inference.segmenter import Segmenter
    from DinoUNetCore.weights.bundle_reading import load_bundle

    bundle = load_bundle(model)
    image, _ = make_phantom(1000)
    maps = [
        sitk.GetArrayFromImage(Segmenter(bundle, device, precision=precision).segment(image)) for precision in DTYPES
    ]
    dice = {}
    for label in bundle.labels:
        one, other = (labels == label.value for labels in maps)
        if label.value and (one.any() or other.any()):
            dice[label.name] = round(float(2 * (one & other).sum() / (one.sum() + other.sum())), 5)
    mean = round(statistics.mean(dice.values()), 5) if dice else None
    return {"model": bundle.name, "phantom": list(image.GetSize()), "mean_dice": mean, "dice": dice}


def show(entry: dict[str, Any]) -> None:
    """A line for each mode."""
    for name, mode in entry["modes"].items():
        print(
            f"{entry['variant']:>10} {entry['size']:4} {name:9} {mode['seconds_per_slice']:9.4f} s per slice, "
            f"{mode['times_faster_than_plain']:5.2f} x plain's speed, "
            f"{mode.get('times_faster_than_usual', 0):5.2f} x the usual one, "
            f"{mode['share_of_matrix_rate']:6.1%} of the rate, "
            f"differs by {mode.get('largest_difference_of_logits', 0.0):.1e}",
            file=sys.stderr,
            flush=True,
        )


def timed_in_stride(turn: Callable[[], Any], device: torch.device) -> float:
    turn()
    return timed(turn, device)


def timed(turn: Callable[[], Any], device: torch.device) -> float:
    wait_for(device)
    started = time.perf_counter()
    turn()
    wait_for(device)
    return time.perf_counter() - started


def _difference(logits: Tensor, reference: Tensor) -> float:
    return float((logits.float() - reference.float()).abs().max())


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


if __name__ == "__main__":
    main()
