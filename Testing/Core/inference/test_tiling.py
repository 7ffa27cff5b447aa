"""Tiles: where they lie, how they are weighted, and what mirroring adds."""

import itertools
import json

import pytest
import torch

from DinoUNetCore.inference.tiling import (
    gaussian_weights,
    mirrored_features,
    tile_starts,
    tiles_of,
)


def test_tiles_start_where_the_authors_code_starts_them(shared):
    extras = json.loads((shared / "fixtures" / "extras.json").read_text(encoding="utf-8"))
    for size, expected in extras["steps"].items():
        sizes = [int(part) for part in size.strip("()").split(",")]
        assert [tile_starts(length, 512) for length in sizes] == expected


def test_weights_are_those_of_the_authors_code(shared):
    expected = json.loads((shared / "fixtures" / "extras.json").read_text(encoding="utf-8"))["gaussian_512"]
    weights = gaussian_weights((512, 512))
    assert weights.max().item() == pytest.approx(expected["max"])
    row = torch.tensor(expected["center_row_every_32"])  # float16 numbers
    torch.testing.assert_close(weights[256, ::32], row, rtol=1e-3, atol=0)
    assert weights.double().sum().item() == pytest.approx(expected["sum"], rel=1e-4)
    assert weights[0, 0].item() == pytest.approx(expected["corner"], rel=0.01)


@pytest.mark.parametrize(("length", "tile"), [(1, 64), (64, 64), (65, 64), (200, 64), (500, 96)])
def test_tiles_cover_every_pixel_with_half_overlap(length, tile):
    starts = tile_starts(length, tile)
    assert starts[0] == 0
    assert starts[-1] + tile >= length
    assert all(0 < after - before <= tile / 2 for before, after in itertools.pairwise(starts))
    assert starts[-1] + min(tile, length) <= length


def test_a_side_shorter_than_the_patch_is_not_cut():
    assert tiles_of((40, 100), (64, 64)) == [(slice(0, 64), slice(start, start + 64)) for start in tile_starts(100, 64)]


def test_mirroring_averages_over_the_given_axes_only():
    tiles = torch.arange(12.0).reshape(1, 1, 3, 4)
    ramp = torch.arange(4.0).expand(1, 1, 3, 4)  # a network that sees where it is along the columns

    def features(tile):
        return tile + ramp

    torch.testing.assert_close(mirrored_features(features, tiles, []), tiles + ramp)
    torch.testing.assert_close(mirrored_features(features, tiles, [2]), tiles + ramp)
    torch.testing.assert_close(mirrored_features(features, tiles, [3]), tiles + 1.5)
    calls = []
    mirrored_features(lambda tile: calls.append(tile) or tile, tiles, [2, 3])
    assert len(calls) == 4
    assert len({tuple(call.flatten().tolist()) for call in calls}) == 4
