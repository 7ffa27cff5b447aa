"""The sizes in which Dino U-Net comes."""

from dataclasses import asdict, dataclass
from typing import Any

from DinoUNetCore.network.backbone import ViTConfig


@dataclass(frozen=True)
class Variant:
    """All sizes of a Dino U-Net. The defaults are the paper's.

    `timm_model` names the public weights of the backbone; None: there are none, and the backbone is always trained.
    """

    vit: ViTConfig
    taps: tuple[int, int, int, int]
    timm_model: str | None = None
    spm_width: int = 64
    attention_heads: int = 16
    drop_path: float = 0.3
    fapm_rank: int = 256
    features: tuple[int, int, int, int] = (32, 64, 128, 256)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Variant":
        """The inverse of `to_json`. TypeError when fields are missing or unknown."""
        value = dict(value)
        value["vit"] = ViTConfig(**value["vit"])
        value["taps"], value["features"] = tuple(value["taps"]), tuple(value["features"])
        return cls(**value)


VARIANTS: dict[str, Variant] = {
    # Ours, for CPUs, tests and the demo: no public weights exist for it, so its backbone is trained along.
    "tiny": Variant(
        ViTConfig(dim=128, depth=4, heads=4),
        taps=(0, 1, 2, 3),
        spm_width=32,
        attention_heads=8,
        drop_path=0.1,
        fapm_rank=64,
        features=(16, 32, 64, 128),
    ),
    "small": Variant(ViTConfig(384, 12, 6), (2, 5, 8, 11), "vit_small_patch16_dinov3_qkvb.lvd1689m"),
    "small_plus": Variant(
        ViTConfig(384, 12, 6, swiglu_align=8), (2, 5, 8, 11), "vit_small_plus_patch16_dinov3_qkvb.lvd1689m"
    ),
    "base": Variant(ViTConfig(768, 12, 12), (2, 5, 8, 11), "vit_base_patch16_dinov3_qkvb.lvd1689m"),
    "large": Variant(ViTConfig(1024, 24, 16), (4, 11, 17, 23), "vit_large_patch16_dinov3_qkvb.lvd1689m"),
    "huge_plus": Variant(
        ViTConfig(1280, 32, 20, swiglu_align=8), (7, 15, 23, 31), "vit_huge_plus_patch16_dinov3_qkvb.lvd1689m"
    ),
    "7b": Variant(
        ViTConfig(4096, 40, 32, mlp_ratio=2.0, swiglu_align=64, qkv_bias=False),
        (9, 19, 29, 39),
        "vit_7b_patch16_dinov3.lvd1689m",
    ),
}
