"""Timm's names of DINOv3 weights, known without torch."""

import pytest

from DinoUNetCore.network.variants import VARIANTS
from DinoUNetCore.weights.timm_names import PUBLIC_WEIGHTS, is_timm_name, variant_of


def test_the_table_is_that_of_the_variants():
    assert {name: one.timm_model for name, one in VARIANTS.items() if one.timm_model} == PUBLIC_WEIGHTS
    assert all(is_timm_name(name) and variant_of(name) == variant for variant, name in PUBLIC_WEIGHTS.items())


@pytest.mark.parametrize(
    ("name", "variant"),
    [
        ("vit_large_patch16_dinov3_qkvb.sat493m", "large"),
        ("vit_7b_patch16_dinov3.sat493m", "7b"),
        ("vit_small_patch16_dinov3_qkvb.eupe_lvd1689m", None),
        ("vit_small_patch16_dinov3_qkvb.lvd1689m/..", None),
        ("resnet50.a1_in1k", None),
        ("small", None),
        ("", None),
    ],
)
def test_other_names_are_none_of_dinov3_weights(name, variant):
    assert variant_of(name) == variant and is_timm_name(name) is (variant is not None)
