"""How a label map was made, to be written into its file and shown.

Only what decides over the labels: no time, no path, no computer. What is equal to the bit stays so.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from DinoUNetCore.inference.segmenter import Segmenter

HASH_DIGITS = 12
"""Of the model's SHA-256: enough to tell models apart."""

LONGEST_NAME = 100
"""Of a model, in characters; a bundle may have any, a file's header not."""


def provenance(segmenter: "Segmenter", resampled: bool = False) -> dict[str, str]:
    """What `described` makes of a segmenter's results. resampled: see `chosen_options`."""
    bundle = segmenter.bundle
    options = chosen_options(segmenter, resampled)
    return described(bundle.name, bundle.sha256, str(segmenter.device), precision_name(segmenter), options)


def described(model: str, sha256: str, device: str, precision: str, options: str) -> dict[str, str]:
    """Model, ModelSHA256 (its first digits), Device (its kind), Precision, Options; without what is empty."""
    facts = {
        "Model": " ".join(model.split())[:LONGEST_NAME],
        "ModelSHA256": sha256[:HASH_DIGITS],
        "Device": device.partition(":")[0],
        "Precision": precision,
        "Options": options,
    }
    return {name: fact for name, fact in facts.items() if fact}


def precision_name(segmenter: "Segmenter") -> str:
    """Such as "bfloat16"."""
    return str(segmenter.precision).removeprefix("torch.")


def chosen_options(segmenter: "Segmenter", resampled: bool = False) -> str:
    """The options that change the labels, by the names that `segment` gives them, as far as they are not the model's
    usual ones: such as "fast mirror planes=axial,coronal no-keep-largest", or nothing.

    resampled: whether a channel on another grid than the first one's was brought onto that.
    """
    bundle = segmenter.bundle
    options = []
    if segmenter.fast:
        options.append("fast")
    if segmenter.mirror_axes:
        options.append("mirror")
    if segmenter.planes != bundle.planes:
        options.append(f"planes={','.join(segmenter.planes)}")
    if set(segmenter.keep_largest) != set(bundle.keep_largest):
        options.append("keep-largest" if segmenter.keep_largest else "no-keep-largest")
    if resampled:
        options.append("resample-channels")
    return " ".join(options)
