"""Slices for the network: context, spacing, normalisation, and the way back in bands."""

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from DinoUNetCore.inference.slices import NetworkSlices, bands_at_size
from DinoUNetCore.volume.geometry import Slicing
from DinoUNetCore.volume.intensity import ChannelNormalization
from DinoUNetCore.volume.resampling import resize
from DinoUNetCore.volume.volume import Volume


def network_slices(array, context_slices=1, spacing=(1.0, 1.0)):
    channels = array if isinstance(array, list) else [array]
    volume = Volume.from_images([sitk.GetImageFromArray(channel) for channel in channels], "test")
    normalization = [ChannelNormalization("ct", -1e6, 1e6, 0.0, 1.0)] * len(channels)
    slicing = Slicing.of(volume.grid, "axial")
    return NetworkSlices(volume, slicing, normalization, spacing, context_slices, torch.device("cpu"))


def test_context_is_the_slice_before_the_slice_and_the_slice_after_with_edges_repeated():
    array = np.arange(5, dtype=np.int16)[:, None, None] * np.ones((1, 3, 4), np.int16)
    slices = network_slices(array, context_slices=3)
    whole = slices.read(0, 5)
    assert whole[:, :, 0, 0].tolist() == [[0, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 4]]
    parts = [slices.read(0, 2), slices.read(2, 3), slices.read(3, 5)]
    assert torch.equal(torch.cat(parts), whole)


def test_a_single_slice_is_its_own_context():
    slices = network_slices(np.full((1, 3, 4), 7, np.int16), context_slices=3)
    assert slices.read(0, 1)[:, :, 0, 0].tolist() == [[7, 7, 7]]


def test_channels_stay_in_order():
    arrays = [np.full((2, 3, 4), value, np.float32) for value in (1, 2, 3, 4)]
    assert network_slices(arrays).read(1, 2)[0, :, 0, 0].tolist() == [1, 2, 3, 4]


def test_slices_come_at_the_network_s_spacing_with_the_same_field_of_view():
    array = np.random.default_rng(0).normal(size=(2, 30, 40)).astype(np.float32)
    slices = network_slices(array, spacing=(0.5, 2.0))
    assert slices.size == (60, 20)
    torch.testing.assert_close(slices.read(0, 2), resize(torch.from_numpy(array)[:, None], (60, 20)))


@pytest.mark.parametrize("size", [(31, 47), (90, 100), (13, 100), (90, 20), (13, 20), (1, 1), (31, 200)])
@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_bands_are_the_rows_of_the_resized_features(size, rows):
    features = torch.randn(3, 31, 47, generator=torch.Generator().manual_seed(0))
    bands = list(bands_at_size(features, size, rows))
    assert [first for first, _ in bands] == list(range(0, size[0], rows))
    together = torch.cat([band for _, band in bands], dim=1)
    torch.testing.assert_close(together, resize(features[None], size)[0], rtol=1e-4, atol=1e-5)
