"""Probability maps: on the input's grid, summing to one with the background, all or none."""

import itertools

import numpy as np
import pytest
import SimpleITK as sitk

from DinoUNetCore.errors import UserError
from DinoUNetCore.inference.probabilities import ProbabilityFiles
from DinoUNetCore.inference.segmenter import Segmenter
from DinoUNetCore.volume.volume import channel_arrays


def image(shape=(4, 20, 30)):
    array = np.random.default_rng(0).normal(500, 200, shape).astype(np.int16)
    result = sitk.GetImageFromArray(array)
    result.SetSpacing((0.1 + 0.2, 1 / 3, 2.5)[: array.ndim])
    result.SetOrigin((1e-3, -7 / 3, 11.0)[: array.ndim])
    return result


def read(path):
    result = sitk.ReadImage(str(path))
    return result, channel_arrays(result)[0]


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_the_label_is_where_its_probability_is_largest(random_bundle, tmp_path, plane):
    bundle = random_bundle(plane=plane, labels={"liver": 2, "left kidney/pole": 9})
    files = ProbabilityFiles(tmp_path, "case", bundle.labels)
    labels = Segmenter(bundle, "cpu").segment(image(), probabilities=files)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["case_2_liver.mha", "case_9_left_kidney_pole.mha"]
    maps = [read(path)[1] for path in files.paths]
    background = 1 - sum(maps)
    assert background.min() > -1e-6
    assert min(array.min() for array in maps) >= 0
    winners = np.argmax([background, *maps], axis=0)
    assert (np.array([0, 2, 9])[winners] == channel_arrays(labels)[0]).mean() > 0.999


def test_the_grid_is_kept_to_the_bit_in_every_storage_order(random_bundle, tmp_path):
    segmenter = Segmenter(random_bundle(), "cpu")
    for number, permutation in enumerate(itertools.permutations(range(3))):
        moved = sitk.Flip(sitk.PermuteAxes(image(), permutation), (True, False, True))
        files = ProbabilityFiles(tmp_path, f"case{number}", segmenter.bundle.labels)
        segmenter.segment(moved, probabilities=files)
        written, _ = read(files.paths[0])
        for name in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
            assert getattr(written, name)() == getattr(moved, name)()


def test_pictures_have_pictures_as_probability_maps(random_bundle, tmp_path):
    bundle = random_bundle(dimension=2)
    files = ProbabilityFiles(tmp_path, "case", bundle.labels)
    Segmenter(bundle, "cpu").segment(image((20, 30)), probabilities=files)
    written, array = read(files.paths[0])
    assert written.GetDimension() == 2
    assert 0 < array.max() <= 1


def test_a_run_that_ends_early_leaves_nothing(random_bundle, tmp_path):
    bundle = random_bundle()
    segmenter = Segmenter(bundle, "cpu", batch_size=1)

    def cancel(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        segmenter.segment(image(), cancel, ProbabilityFiles(tmp_path, "case", bundle.labels))
    assert list(tmp_path.iterdir()) == []


def test_existing_maps_are_kept_unless_told_otherwise(random_bundle, tmp_path):
    bundle = random_bundle()
    existing = tmp_path / "case_1_one.mha"
    existing.write_bytes(b"precious")
    with pytest.raises(UserError, match=r"case_1_one\.mha exists"):
        ProbabilityFiles(tmp_path, "case", bundle.labels)
    ProbabilityFiles(tmp_path, "case", bundle.labels, overwrite=True)
    assert existing.read_bytes() == b"precious"
