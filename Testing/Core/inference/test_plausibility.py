"""Warnings about images unlike the training's, and silence about those that are alike."""

import numpy as np
import pytest
import SimpleITK as sitk

from DinoUNetCore.inference.plausibility import cautions
from DinoUNetCore.volume.volume import Volume

CT = {
    "channels": ("CT",),
    "normalization": [{"scheme": "ct", "low": -900, "high": 300, "mean": 50, "std": 200}],
    "intensity_range": [[-1000.0, 900.0]],
    "spacing_range": [[1.0, 5.0], [0.6, 0.9], [0.6, 0.9]],
}


def volume(low, high, spacing=(0.8, 0.8, 3.0), shape=(10, 40, 40), dtype=np.int16):
    array = np.random.default_rng(0).uniform(low, high, shape).astype(dtype)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing[: len(shape)])
    return Volume.from_images([image], "case")


@pytest.mark.parametrize(("low", "high"), [(-1024, 1500), (-1000, 400), (-3024, 2000), (-200, 300), (-120, 250)])
def test_a_ct_raises_no_warning(random_bundle, low, high):
    assert cautions(random_bundle(**CT), volume(low, high)) == []


@pytest.mark.parametrize(("low", "high"), [(0, 255), (0, 4000), (0, 1), (24, 3000), (-0.1, 0.1)])
def test_a_ct_model_on_something_else_raises_a_warning(random_bundle, low, high):
    (sentence,) = cautions(random_bundle(**CT), volume(low, high, dtype=np.float32))
    assert "unlike the CT" in sentence
    assert "-1000 to 900" in sentence


@pytest.mark.parametrize(("low", "high"), [(0, 255), (0, 40000), (-1000, 1000)])
def test_models_that_normalise_each_image_do_not_mind_its_scale(random_bundle, low, high):
    assert cautions(random_bundle(spacing_range=CT["spacing_range"]), volume(low, high, dtype=np.float32)) == []


@pytest.mark.parametrize(
    ("spacing", "expected"),
    [
        ((0.8, 0.8, 3.0), []),
        ((0.35, 0.35, 0.6), []),
        ((1.7, 1.7, 9.0), []),
        ((0.8, 0.8, 20.0), ["slices are 20 mm"]),
        ((2.0, 0.8, 3.0), ["columns are 2 mm"]),
        ((0.1, 0.1, 3.0), ["rows are 0.1 mm", "columns are 0.1 mm"]),
    ],
)
def test_far_spacings_are_told(random_bundle, spacing, expected):
    sentences = cautions(random_bundle(**CT), volume(-1000, 1000, spacing))
    assert len(sentences) == len(expected)
    for sentence, words in zip(sentences, expected, strict=True):
        assert words in sentence


@pytest.mark.parametrize("spacing", [(0.01, 0.01), (1.0, 1.0), (25.4, 25.4)])
def test_a_model_that_counts_in_pixels_does_not_mind_what_resolution_a_picture_stores(random_bundle, spacing):
    picture = volume(0, 255, spacing, (40, 40), np.uint8)
    bundle = random_bundle(dimension=2, unit="pixel", spacing_range=[[1.0, 1.0]] * 3)
    assert cautions(bundle, picture) == []


def test_a_storage_order_does_not_change_which_axis_is_meant(random_bundle):
    image = sitk.Image([10, 40, 40], sitk.sitkInt16)
    image.SetSpacing((20.0, 0.8, 0.8))
    image.SetDirection((0, 1, 0, 0, 0, 1, 1, 0, 0))  # I runs along the body
    sentences = cautions(
        random_bundle(**(CT | {"normalization": [{"scheme": "zscore"}]})), Volume.from_images([image], "x")
    )
    assert len(sentences) == 1
    assert "slices are 20 mm" in sentences[0]


def test_pictures_for_models_of_volumes_and_the_reverse(random_bundle):
    picture, scan = volume(0, 255, (1.0, 1.0), (40, 40)), volume(0, 255, (1.0, 1.0, 1.0))
    single = volume(0, 255, (1.0, 1.0, 1.0), (1, 40, 40))
    of_volumes, of_pictures = random_bundle(dimension=3), random_bundle(dimension=2)
    assert "2D picture" in cautions(of_volumes, picture)[0]
    assert "volume of 10 slices" in cautions(of_pictures, scan)[0]
    for bundle, image in ((of_volumes, scan), (of_volumes, single), (of_pictures, picture), (of_pictures, single)):
        assert cautions(bundle, image) == []
