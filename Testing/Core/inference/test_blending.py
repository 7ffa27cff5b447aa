"""Blending tiles changes nothing where it should not; a window gets what it needs of a slice's tiles, no more."""

import pytest
import torch

from DinoUNetCore.inference.blending import blended_features, tiles_over
from DinoUNetCore.inference.tiling import tiles_of


@pytest.mark.parametrize("tiles_at_once", [1, 2, 100])
def test_blending_gives_back_features_that_do_not_depend_on_the_tile(tiles_at_once):
    slices = torch.randn(2, 3, 130, 90)
    result = blended_features(lambda tiles: 2 * tiles + 1, slices, (64, 32), tiles_at_once)
    torch.testing.assert_close(result, 2 * slices + 1)


def test_where_tiles_disagree_the_nearer_middle_counts_more():
    tiles = iter([0.0, 1.0])
    slices = torch.zeros(1, 1, 64, 96)
    result = blended_features(lambda tile: torch.full_like(tile, next(tiles)), slices, (64, 64))[0, 0, 32]
    assert result[:32].max() == 0  # seen by the first tile only
    assert result[64:].min() == 1
    assert (result[33:64].diff() > 0).all()
    assert result[48].item() == pytest.approx(0.5, abs=0.02)


def test_blending_accumulates_in_float32_whatever_the_network_computes_in():
    slices = torch.randn(1, 1, 64, 96)
    assert blended_features(lambda tiles: tiles.bfloat16(), slices, (64, 64)).dtype == torch.float32
    assert blended_features(lambda tiles: tiles.bfloat16(), slices, (96, 96)).dtype == torch.float32


@pytest.mark.parametrize("rows", [slice(0, 1), slice(60, 90), slice(129, 130)])
@pytest.mark.parametrize("columns", [slice(0, 90), slice(70, 71)])
def test_in_a_window_the_features_are_those_of_the_whole_slice_to_the_bit(rows, columns):
    slices = torch.randn(2, 3, 130, 90)

    def features(tiles):  # depends on where the tile begins and what is in it
        return tiles * tiles.mean(dim=(2, 3), keepdim=True) + tiles[:, :, :1, :1]

    whole = blended_features(features, slices, (64, 32))
    part = blended_features(features, slices, (64, 32), window=(rows, columns))
    assert torch.equal(part[:, :, rows, columns], whole[:, :, rows, columns])
    assert torch.isfinite(part).all()


def test_only_tiles_that_touch_the_window_are_computed():
    size, patch, window = (130, 90), (64, 32), (slice(30, 32), slice(40, 50))
    tiles = tiles_over(size, patch, window)
    assert tiles == [
        (rows, columns)
        for rows, columns in tiles_of(size, patch)
        if rows.start < 32 and rows.stop > 30 and columns.start < 50 and columns.stop > 40
    ]
    assert 0 < len(tiles) < len(tiles_of(size, patch))
    assert tiles_over(size, patch, None) == tiles_of(size, patch)
    calls = []
    blended_features(lambda tile: calls.append(len(tile)) or tile, torch.zeros(1, 1, *size), patch, 1, window)
    assert len(calls) == len(tiles)


def test_a_slice_smaller_than_the_patch_is_seen_whole():
    assert tiles_over((20, 30), (64, 64), (slice(0, 1), slice(29, 30))) == tiles_of((20, 30), (64, 64))
