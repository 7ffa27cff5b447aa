"""How timm names DINOv3 weights: vit_{variant}_patch16_dinov3[_qkvb].{data they were trained on}.

Needs nothing but the standard library: a wrong name is told before torch is loaded.
"""

import re

PUBLIC_WEIGHTS = {
    **{
        variant: f"vit_{variant}_patch16_dinov3_qkvb.lvd1689m"
        for variant in ("small", "small_plus", "base", "large", "huge_plus")
    },
    "7b": "vit_7b_patch16_dinov3.lvd1689m",  # which has no biases that timm's other entries would leave out
}
"""The public weights of each variant's backbone, those of `network.variants`. The variant tiny has none."""

_NAME = re.compile(r"vit_([a-z0-9_]+)_patch16_dinov3(_qkvb)?\.(lvd1689m|sat493m)")


def is_timm_name(text: str) -> bool:
    """Whether this is how timm names DINOv3 weights."""
    return _NAME.fullmatch(text) is not None


def variant_of(timm_name: str) -> str | None:
    """Such as "small_plus" of vit_small_plus_patch16_dinov3_qkvb.lvd1689m; None for other names."""
    match = _NAME.fullmatch(timm_name)
    return match[1] if match else None
