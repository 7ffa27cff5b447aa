"""How much of the network's speed a training keeps: python Testing/Benchmarks/training_throughput.py [--variant tiny]

Draws a few phantoms and plans as usual. Then, in turns and in one process, so that other programs slow both alike:

    pipeline    the trainer's own epoch: cutting, augmentation, forward, backward, optimizer
    resident    the trainer's own step on one batch that stays on the device: the fastest that a data path could be

and, on one thread each, samples per second of the augmentation alone, ours (drawing and applying) beside that of
batchgeneratorsv2 (nnU-Net's, the same list) where that package is installed. Prints JSON; ends with 1 if the pipeline
falls below the target (85 % of resident on a CPU, 90 % elsewhere). Where other programs keep the cores busy, the ratio
of processor seconds is the one to trust (of loader processes it does not know).
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch

from DinoUNetCore.dataset.augmentation import Augmentation, AugmentationSettings, Windows
from DinoUNetCore.dataset.fingerprint import make_fingerprint
from DinoUNetCore.dataset.layout import read_dataset
from DinoUNetCore.dataset.phantom import write_phantom_dataset
from DinoUNetCore.dataset.plan import make_plan
from DinoUNetCore.dataset.preprocessing import prepare_cases
from DinoUNetCore.dataset.slices import TrainingSlices, collate_windows
from DinoUNetCore.training.settings import Settings
from DinoUNetCore.training.start import make_network
from DinoUNetCore.training.termination import termination_requests
from DinoUNetCore.training.trainer import Trainer

TARGET = {"cpu": 0.85}
OTHER_TARGET = 0.9


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--variant", default="tiny")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, help="of torch (default: all cores)")
    parser.add_argument("--workers", type=int, help="loader processes (default: by device)")
    parser.add_argument("--phantoms", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=11, help="turns of pipeline and resident")
    parser.add_argument("--iterations", type=int, default=5, help="batches per turn")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        trainer = make_trainer(Path(folder), options)
        with termination_requests() as trainer._termination:
            report = measure_training(trainer, options.rounds)
        report["augmentation_alone"] = measure_augmentation(trainer.loader.dataset)
    print(json.dumps(report, indent=2))
    return 0 if report["pipeline_by_resident"] >= report["target"] else 1


def make_trainer(folder: Path, options: argparse.Namespace) -> Trainer:
    write_phantom_dataset(folder / "data", options.phantoms, 1)
    dataset = read_dataset(folder / "data")
    settings = Settings(
        str(folder / "data"),
        variant=options.variant,
        backbone="random",
        iterations=options.iterations,
        device=options.device,
        workers=options.workers,
    )
    plan = make_plan(dataset, make_fingerprint(dataset), options.variant)
    cases = prepare_cases(dataset, plan, folder / "prepared")
    network = make_network(settings, plan, _quiet)
    return Trainer(settings, dataset, plan, cases, network, folder, time.monotonic(), _quiet)


def measure_training(trainer: Trainer, rounds: int) -> dict:
    """Samples per second of both, medians over the rounds; their ratio is taken within each round."""
    batch = trainer.augmentation(next(trainer.loader.batches()), trainer.device)
    image, classes = batch[0].to(memory_format=torch.channels_last), batch[1]
    samples = trainer.iterations * trainer.plan.batch_size

    def resident() -> None:
        for _ in range(trainer.iterations):
            trainer.step(image, classes)

    def pipeline() -> None:
        trainer._train_epoch(next(epochs))

    epochs = iter(range(2 * rounds + 2))
    for warm_up in (resident, pipeline):
        warm_up()
    rates = {"pipeline": [], "resident": []}
    processor_seconds = {"pipeline": 0.0, "resident": 0.0}
    for number in range(rounds):
        turns = [pipeline, resident]
        for turn in turns if number % 2 else reversed(turns):
            before = time.process_time()
            rates[turn.__name__].append(samples / _seconds(turn, trainer.device))
            processor_seconds[turn.__name__] += time.process_time() - before
    ratios = [ours / pure for ours, pure in zip(rates["pipeline"], rates["resident"], strict=True)]
    plan = trainer.plan
    return {
        "variant": trainer.settings.variant,
        "device": str(trainer.device),
        "threads": torch.get_num_threads(),
        "loader_workers": trainer.loader.workers,
        "batch": [plan.batch_size, len(plan.channel_names) * plan.context_slices, *plan.patch_size],
        "pipeline_samples_per_second": round(statistics.median(rates["pipeline"]), 2),
        "resident_samples_per_second": round(statistics.median(rates["resident"]), 2),
        "pipeline_by_resident": round(statistics.median(ratios), 3),
        "pipeline_by_resident_of_each_round": [round(ratio, 3) for ratio in ratios],
        "resident_by_pipeline_in_processor_seconds": round(
            processor_seconds["resident"] / processor_seconds["pipeline"], 3
        ),
        "target": TARGET.get(trainer.device.type, OTHER_TARGET),
    }


def measure_augmentation(slices: TrainingSlices, batch_size: int = 8, batches: int = 25) -> dict:
    """Samples per second on one CPU thread, out of windows that are cut already, in turns."""
    import numpy as np

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    windows = collate_windows([slices[(0, number)] for number in range(batch_size)])
    settings, patch_size = AugmentationSettings(), slices.augmentation.patch_size
    augmentation, random = Augmentation(settings, patch_size), np.random.default_rng(0)

    def ours() -> None:
        numbers = [augmentation.draw(random, windows.image.shape[1]) for _ in range(batch_size)]
        augmentation(Windows(windows.image, windows.label, numbers), "cpu")

    turns = {"ours": ours}
    try:
        transform = _nnunets(settings, patch_size)
    except ImportError as error:
        transform = None
        missing = str(error)
    if transform is not None:
        image, label = windows.image.float(), windows.label[:, None].to(torch.int16)

        def theirs() -> None:
            for index in range(batch_size):
                transform(image=image[index].clone(), segmentation=label[index].clone())

        turns["batchgeneratorsv2"] = theirs
    seconds = {name: [] for name in turns}
    for number in range(batches + 3):
        for name, turn in turns.items():
            taken = _seconds(turn, torch.device("cpu"))
            if number >= 3:  # the first ones warm up
                seconds[name].append(taken)
    torch.set_num_threads(threads)
    rates = {name: round(batch_size / statistics.mean(taken), 1) for name, taken in seconds.items()}
    report = {"samples_per_second_on_one_thread": rates, "window": list(windows.image.shape[1:])}
    if transform is None:
        return {**report, "batchgeneratorsv2": missing}
    return {**report, "ours_by_batchgeneratorsv2": round(rates["ours"] / rates["batchgeneratorsv2"], 2)}


def _nnunets(settings: AugmentationSettings, patch_size: tuple[int, int]):
    """nnU-Net's transforms with our settings. ImportError where batchgeneratorsv2 is not installed."""
    from math import pi

    from batchgeneratorsv2.transforms.intensity.brightness import MultiplicativeBrightnessTransform
    from batchgeneratorsv2.transforms.intensity.contrast import BGContrast, ContrastTransform
    from batchgeneratorsv2.transforms.intensity.gamma import GammaTransform
    from batchgeneratorsv2.transforms.intensity.gaussian_noise import GaussianNoiseTransform
    from batchgeneratorsv2.transforms.noise.gaussian_blur import GaussianBlurTransform
    from batchgeneratorsv2.transforms.spatial.low_resolution import SimulateLowResolutionTransform
    from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
    from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
    from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
    from batchgeneratorsv2.transforms.utils.random import RandomTransform

    def span(chance) -> tuple[float, float]:
        return chance.low, chance.high

    def sometimes(chance, transform):
        return RandomTransform(transform, apply_probability=chance.probability)

    s, angle = settings, settings.rotation * pi / 180
    return ComposeTransforms(
        [
            SpatialTransform(
                patch_size,
                patch_center_dist_from_border=0,
                random_crop=False,
                p_rotation=s.rotation_probability,
                rotation=(-angle, angle),
                p_scaling=s.scaling.probability,
                scaling=span(s.scaling),
                p_synchronize_scaling_across_axes=1,
                mode_seg="nearest",
                border_mode_seg="border",
                padding_mode_image="border",
            ),
            sometimes(s.noise, GaussianNoiseTransform(span(s.noise), 1, synchronize_channels=True)),
            sometimes(s.blur, GaussianBlurTransform(span(s.blur), p_per_channel=1, benchmark=True)),
            sometimes(s.brightness, MultiplicativeBrightnessTransform(BGContrast(span(s.brightness)), False)),
            sometimes(s.contrast, ContrastTransform(BGContrast(span(s.contrast)), True, False)),
            sometimes(s.low_resolution, SimulateLowResolutionTransform(span(s.low_resolution), False, True, None)),
            sometimes(s.inverted_gamma, GammaTransform(BGContrast(span(s.inverted_gamma)), 1, False, 1, 1)),
            sometimes(s.gamma, GammaTransform(BGContrast(span(s.gamma)), 0, False, 1, 1)),
            MirrorTransform(allowed_axes=(0, 1)),
        ]
    )


def _seconds(function, device: torch.device) -> float:
    _wait_for(device)
    started = time.perf_counter()
    function()
    _wait_for(device)
    return time.perf_counter() - started


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _quiet(text: str) -> None:
    """The trainer's sentences are no part of the JSON."""


if __name__ == "__main__":
    sys.exit(main())
