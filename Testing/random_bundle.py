"""Small model bundles with random networks, quick enough to run everywhere."""

import torch

from DinoUNetCore.network.backbone import ViTConfig
from DinoUNetCore.network.dino_unet import DinoUNet
from DinoUNetCore.network.variants import Variant
from DinoUNetCore.volume.label_scheme import LabelScheme
from DinoUNetCore.weights.bundle import ModelBundle, make_config, network_tensors

SIZES = Variant(
    ViTConfig(32, 4, 2),
    (0, 1, 2, 3),
    spm_width=8,
    attention_heads=4,
    drop_path=0.0,
    fapm_rank=8,
    features=(8, 8, 16, 16),
)


def make_bundle(
    *,
    labels: dict[str, int] | None = None,
    regions: dict[str, list[int]] | None = None,
    channels: tuple[str, ...] = ("MR",),
    seed: int = 0,
    variant: Variant = SIZES,
    **inputs,
) -> ModelBundle:
    """A bundle with a random network whose classes all win somewhere. inputs: replace entries of config["input"].

    regions: the labels' values by name, in the order of the outputs; `labels` gives what is written.
    """
    labels = labels or {"one": 1, "two": 2, "three": 3}
    scheme = LabelScheme({"background": 0, **labels}, regions)
    inputs = {
        "channel_names": list(channels),
        "dimension": 3,
        "plane": "axial",
        "spacing": [1.0, 1.0],
        "patch_size": [64, 64],
        "context_slices": 1,
        "mirror": [],
        "normalization": [{"scheme": "zscore"}] * len(channels),
        "intensity_range": [[0.0, 1000.0]] * len(channels),
        "spacing_range": [[0.5, 5.0]] * 3,
    } | inputs
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        inputs_of_network = len(channels) * inputs["context_slices"]
        network = DinoUNet(variant, inputs_of_network, scheme.outputs, train_backbone=True).eval()
        for parameter in network.parameters():
            if parameter.ndim == 1 and (parameter == 0).all():
                torch.nn.init.normal_(parameter, std=0.1)
        with torch.no_grad():  # a head whose logits have mean 0 and equal spread on noise
            head = network.decoder.head
            noise = network.features(torch.randn(1, network.in_channels, 64, 64))
            torch.nn.init.normal_(head.weight)
            head.bias.zero_()
            logits = head(noise)[0].flatten(1)
            head.weight /= logits.std(dim=1)[:, None, None, None]
            head.bias.copy_(-head(noise)[0].flatten(1).mean(dim=1))
    config = make_config(
        name="random",
        variant_name="tiny",
        network=network,
        backbone={"name": None, "source": "random", "trained": True, "stored": True},
        inputs=inputs,
        labels=scheme.described,
        regions=regions,
        training={},
        metrics={},
    )
    return ModelBundle(config, network_tensors(network, True), "# A random network", "random")
