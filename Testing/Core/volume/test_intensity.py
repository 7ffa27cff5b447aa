"""Normalisation: the right numbers, and the same numbers for every storage order."""

from itertools import permutations, product

import numpy as np
import pytest

from DinoUNetCore.errors import UserError
from DinoUNetCore.volume.geometry import Slicing
from DinoUNetCore.volume.intensity import ChannelNormalization, Rescale, fit
from DinoUNetCore.volume.volume import Grid

CT = ChannelNormalization("ct", -100.0, 300.0, 50.0, 80.0)
ZSCORE, RGB = ChannelNormalization("zscore"), ChannelNormalization("rgb")


def random_slices(seed: int, shape=(6, 7, 8), scale=100.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(20, scale, shape)


def test_ct_clips_and_uses_the_numbers_of_the_data_set():
    (rescale,) = fit([CT], [random_slices(0)])
    result = rescale(np.array([[[-1000, -100, 50, 300, 3000]]], np.int16))
    assert np.allclose(result, [[[-1.875, -1.875, 0, 3.125, 3.125]]])


def test_zscore_gives_mean_0_and_deviation_1():
    slices = random_slices(1)
    (rescale,) = fit([ZSCORE], [slices])
    result = rescale(slices)
    assert result.mean() == pytest.approx(0, abs=1e-6)
    assert result.std() == pytest.approx(1, abs=1e-6)
    assert rescale.shift == pytest.approx(slices.mean(), rel=1e-12)


def test_rgb_keeps_the_relation_of_the_colours():
    channels = [
        np.random.default_rng(number).integers(0, 80 * (number + 1), (1, 9, 9)).astype(np.uint8) for number in range(3)
    ]
    rescales = fit([RGB] * 3, channels)
    assert rescales[0] == rescales[1] == rescales[2]
    together = np.concatenate([rescale(channel) for rescale, channel in zip(rescales, channels, strict=True)])
    assert together.mean() == pytest.approx(0, abs=1e-6)
    assert together.std() == pytest.approx(1, abs=1e-6)


def test_channels_of_other_schemes_do_not_count_among_the_colours():
    channels = [random_slices(number) * (number + 1) for number in range(3)]
    rescales = fit([ZSCORE, CT, ZSCORE], channels)
    assert rescales[0].scale == pytest.approx(1 / channels[0].std())
    assert rescales[1].scale == 1 / 80
    assert rescales[2].scale == pytest.approx(1 / channels[2].std())


@pytest.mark.parametrize("value", [0.1, -1024.0, 1e30, 0.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_constant_image_becomes_zeros(value, dtype):
    slices = np.full((5, 6, 7), value, dtype)
    (rescale,) = fit([ZSCORE], [slices])
    assert rescale.scale == 1.0
    assert np.allclose(rescale(slices), 0, atol=abs(value) * 1e-6)


def test_statistics_are_equal_to_the_bit_for_all_storage_orders():
    grid = Grid((40, 9, 30), (0.7, 0.8, 2.5), (0.0, 0.0, 0.0), tuple(np.eye(3).ravel().tolist()), 3)
    array = random_slices(2, (30, 9, 40))  # float64, so that the order of summation shows in the last bit
    expected = fit([ZSCORE], [Slicing.of(grid, "coronal").cut(array)])
    for order, flips in product(permutations(range(3)), product((1, -1), repeat=3)):
        stored = np.ascontiguousarray(
            array.transpose([2 - axis for axis in reversed(order)])[tuple(slice(None, None, s) for s in flips[::-1])]
        )
        direction = np.eye(3)[:, order] * np.array(flips)
        other = Grid(
            stored.shape[::-1],
            tuple(grid.spacing[axis] for axis in order),
            grid.origin,
            tuple(direction.ravel().tolist()),
            3,
        )
        assert fit([ZSCORE], [Slicing.of(other, "coronal").cut(stored)]) == expected


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
def test_results_are_float32_and_contiguous_and_the_input_is_untouched(dtype):
    array = np.arange(60, dtype=dtype).reshape(3, 4, 5)
    before = array.copy()
    result = Rescale(2.0, 50.0, 10.0, 0.5)(array.transpose(2, 0, 1)[::-1])
    assert result.dtype == np.float32
    assert result.flags.c_contiguous
    assert np.array_equal(result, ((np.clip(before, 2, 50).astype(float) - 10) * 0.5).transpose(2, 0, 1)[::-1])
    assert np.array_equal(array, before)


def test_read_only_float32_channels_are_copied():
    array = np.ones((2, 3, 4), np.float32)
    array.flags.writeable = False
    assert Rescale(None, None, 1.0, 2.0)(array).max() == 0


def test_large_whole_numbers_keep_their_differences():
    array = (2_000_000_000 + np.arange(100)).astype(np.int32).reshape(1, 10, 10)
    (rescale,) = fit([ZSCORE], [array])
    assert rescale(array).std() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("normalization", [CT, ZSCORE, RGB])
def test_a_normalization_survives_json(normalization):
    assert ChannelNormalization.from_json(normalization.to_json()) == normalization


@pytest.mark.parametrize(
    "data",
    [
        {"scheme": "minmax"},
        {"scheme": "ct", "low": 0, "high": 1, "mean": 0},
        {"scheme": "ct", "low": 2, "high": 1, "mean": 0, "std": 1},
        {"scheme": "ct", "low": 0, "high": 1, "mean": float("nan"), "std": 1},
        {"scheme": "ct", "low": "0", "high": 1, "mean": 0, "std": 1},
        {"scheme": "zscore", "mean": 3},
        {"scheme": "zscore", "extra": 3},
        {},
        "ct",
    ],
)
def test_unusable_normalizations_are_refused(data):
    with pytest.raises(UserError, match="normalisation"):
        ChannelNormalization.from_json(data)
