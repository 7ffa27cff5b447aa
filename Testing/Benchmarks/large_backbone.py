"""Time and peak memory of a 7B backbone on a small machine: python Testing/Benchmarks/large_backbone.py [--variant 7b]

Makes a checkpoint of the true size with random weights (bfloat16, sharded, under transformers' names, as the hub has
it: 13.4 GB on disk for 7b) and a bundle that names it, then lets a process of its own segment one 256x256 slice on the
CPU. Prints JSON: seconds, and the highest resident memory of that process, mapped pages included, beside the size of
the backbone. --stream leaves the blocks on disk, for machines with less memory. Linux and macOS.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from child_process import run_python

# This process imports neither numpy nor torch: a child's highest memory is never below its parent's at the fork.

LIMIT_BYTES = {"7b": 15.5e9}
SHARD_BYTES = 4_500_000_000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--variant", default="7b", choices=("small", "small_plus", "base", "large", "huge_plus", "7b"))
    parser.add_argument("--side", type=int, default=256, help="pixels along each side of the slice")
    parser.add_argument("--stream", action="store_true", help="leave the backbone's blocks on disk")
    parser.add_argument("--folder", type=Path, help="keep the checkpoint here, and use the one that is here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        started = time.monotonic()
        if not (folder / "bundle").exists():
            run_python("-c", f"import large_backbone as b; b.make_checkpoint({str(folder)!r}, {options.variant!r})")
            run_python(
                "-c", f"import large_backbone as b; b.make_bundle({str(folder)!r}, {options.variant!r}, {options.side})"
            )
        made = time.monotonic() - started
        baseline, _ = run_python("-c", "import DinoUNetCore.segment, DinoUNetCore.inference.segmenter")
        command = f"import large_backbone as b; b.segment({str(folder)!r}, {options.side}, {options.stream})"
        peak, seconds = run_python("-c", command)
        facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
        steps = json.loads((folder / "steps.json").read_text(encoding="utf-8"))
    limit = LIMIT_BYTES.get(options.variant)
    report = {
        "variant": options.variant,
        "slice": [options.side, options.side],
        "streamed_from_disk": options.stream,
        **facts,
        **steps,
        "seconds_of_the_process": round(seconds, 1),
        "peak_bytes": peak,
        "import_baseline_bytes": baseline,
        "limit_bytes": limit,
        "seconds_to_make_the_checkpoint": round(made, 1),
    }
    print(json.dumps(report, indent=2))
    return 0 if limit is None or peak <= limit else 1


def make_checkpoint(folder: str, variant: str) -> None:
    """Random weights under transformers' names, in shards with an index."""
    import torch
    from safetensors.torch import save_file

    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from backbone_files import transformers_form

    from DinoUNetCore.network.backbone import Backbone
    from DinoUNetCore.network.variants import VARIANTS

    with torch.device("meta"):
        shapes = transformers_form(Backbone(VARIANTS[variant].vit, VARIANTS[variant].taps))
    values = torch.empty(max(tensor.numel() for tensor in shapes.values()), dtype=torch.bfloat16).uniform_(-0.02, 0.02)
    shards, size = [{}], 0
    for number, (name, tensor) in enumerate(shapes.items()):
        if size + 2 * tensor.numel() > SHARD_BYTES:
            shards, size = [*shards, {}], 0
        shards[-1][name] = (number, tensor.shape)
        size += 2 * tensor.numel()
    places, weights = {}, Path(folder) / "weights"
    weights.mkdir(parents=True)
    for index, shard in enumerate(shards, start=1):
        file = f"model-{index:05d}-of-{len(shards):05d}.safetensors"
        tensors = {
            name: values.roll(number)[: shape.numel()].reshape(shape).clone() for name, (number, shape) in shard.items()
        }
        save_file(tensors, weights / file)
        places |= dict.fromkeys(tensors, file)
    index = json.dumps({"metadata": {}, "weight_map": places})
    (weights / "model.safetensors.index.json").write_text(index, encoding="utf-8")


def make_bundle(folder: str, variant: str, side: int) -> None:
    """A bundle that names these weights, with a random decoder."""
    import torch

    from DinoUNetCore.network.dino_unet import DinoUNet
    from DinoUNetCore.volume.labels import default_labels
    from DinoUNetCore.weights.backbone_weights import BackboneWeights
    from DinoUNetCore.weights.bundle import ModelBundle, make_config, network_tensors
    from DinoUNetCore.weights.dinov3 import fill_buffers

    weights = BackboneWeights(Path(folder) / "weights")
    torch.manual_seed(0)
    network = DinoUNet(variant, 1, 2, train_backbone=False, backbone_device="meta")
    fill_buffers(network.backbone, None, "cpu")
    network.backbone.loaded_sha256 = weights.sha256()
    config = make_config(
        name="large",
        variant_name=variant,
        network=network,
        backbone={"name": network.variant.timm_model, "source": "file", "trained": False, "stored": False},
        inputs={
            "channel_names": ["CT"],
            "dimension": 2,
            "plane": "axial",
            "unit": "mm",
            "spacing": [1.0, 1.0],
            "patch_size": [side, side],
            "context_slices": 1,
            "mirror": [],
            "normalization": [{"scheme": "zscore"}],
            "intensity_range": [[-1000.0, 1000.0]],
            "spacing_range": [[0.5, 5.0]] * 3,
        },
        labels=default_labels({"background": 0, "one": 1}),
        training={},
        metrics={},
    )
    ModelBundle(config, network_tensors(network, False)).save(Path(folder) / "bundle")
    backbone_bytes = sum(file.stat().st_size for file in (Path(folder) / "weights").glob("*.safetensors"))
    facts = {"backbone_bytes": backbone_bytes, "trainable_parameters": sum(p.numel() for p in network.parameters())}
    facts["trainable_parameters"] -= sum(p.numel() for p in network.backbone.parameters())
    (Path(folder) / "facts.json").write_text(json.dumps(facts), encoding="utf-8")


def segment(folder: str, side: int, stream: bool) -> None:
    """Load the bundle and segment one slice; the seconds of both go to steps.json."""
    import numpy as np
    import SimpleITK as sitk

    from DinoUNetCore import Segmenter, load_bundle
    from DinoUNetCore.weights import placement

    notes: list[str] = []
    if stream:
        placement.free_memory = lambda device: 0  # as on a machine that has no room for the backbone
    started = time.monotonic()
    bundle = load_bundle(Path(folder) / "bundle", Path(folder) / "weights")
    segmenter = Segmenter(bundle, "cpu", say=notes.append)
    loaded = time.monotonic()
    image = sitk.GetImageFromArray(np.random.default_rng(0).normal(0, 300, (side, side)).astype(np.int16))
    labels = segmenter.segment(image)
    steps = {
        "notes": notes,
        "seconds_to_load": round(loaded - started, 1),
        "seconds_to_segment": round(time.monotonic() - loaded, 1),
        "labels_found": sorted(np.unique(sitk.GetArrayViewFromImage(labels)).tolist()),
    }
    (Path(folder) / "steps.json").write_text(json.dumps(steps), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
