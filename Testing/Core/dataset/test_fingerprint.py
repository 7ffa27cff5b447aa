"""Measuring data sets: numbers that can be worked out by hand, repeatability, and what is refused."""

import json

import numpy as np
import pytest
import SimpleITK as sitk

from DinoUNetCore.dataset.fingerprint import SAMPLES_PER_CASE, Fingerprint, make_fingerprint
from DinoUNetCore.dataset.layout import read_dataset
from DinoUNetCore.errors import UserError


def write_set(folder, cases, channel="CT", ending=".nrrd", spacing=(1.0, 2.0, 3.0)):
    """A raw folder; `cases` holds (image, label) arrays KJI by name."""
    (folder / "imagesTr").mkdir(parents=True, exist_ok=True)
    (folder / "labelsTr").mkdir(exist_ok=True)
    for name, (image, label) in cases.items():
        for array, path in ((image, f"imagesTr/{name}_0000{ending}"), (label, f"labelsTr/{name}{ending}")):
            written = sitk.GetImageFromArray(array)
            written.SetSpacing(spacing[: written.GetDimension()])
            sitk.WriteImage(written, str(folder / path))
    table = {"channel_names": {"0": channel}, "labels": {"background": 0, "organ": 1, "rare": 5}, "file_ending": ending}
    (folder / "dataset.json").write_text(json.dumps(table), encoding="utf-8")
    return read_dataset(folder)


def test_counts_and_intensities_of_small_cases_are_exact(tmp_path):
    image = np.arange(60, dtype=np.int16).reshape(5, 4, 3)
    label = np.zeros((5, 4, 3), np.uint8)
    label[0], label[4] = 1, 5  # intensities 0..11 and 48..59
    dataset = write_set(tmp_path, {"a": (image, label), "b": (image + 100, np.zeros_like(label))})
    fingerprint = make_fingerprint(dataset)

    assert fingerprint.label_voxels == {"background": 36 + 60, "organ": 12, "rare": 12}
    assert fingerprint.cases["a"].label_voxels == {"background": 36, "organ": 12, "rare": 12}
    foreground = np.r_[0:12, 48:60]
    everything = np.r_[0:60, 100:160]
    (channel,) = fingerprint.channels
    assert channel.foreground_mean == pytest.approx(foreground.mean(), rel=1e-5)
    assert channel.foreground_std == pytest.approx(foreground.std(), rel=1e-5)
    assert [channel.foreground_low, channel.foreground_high] == pytest.approx(
        np.percentile(foreground, [0.5, 99.5]), 1e-5
    )
    assert [channel.image_low, channel.image_high] == pytest.approx(np.percentile(everything, [0.5, 99.5]), 1e-5)
    first = fingerprint.cases["a"]
    assert (first.size, first.spacing, first.dimension) == ((3, 4, 5), (1.0, 2.0, 3.0), 3)
    assert (first.channels[0]["minimum"], first.channels[0]["maximum"]) == (0, 59)
    assert first.channels[0]["mean"] == pytest.approx(29.5)


def test_large_cases_are_sampled_closely_and_repeatably(tmp_path):
    random = np.random.default_rng(5)
    image = random.normal(40, 10, (30, 40, 50)).astype(np.float32)
    label = np.ones((30, 40, 50), np.uint8)
    assert image.size > 3 * SAMPLES_PER_CASE
    dataset = write_set(tmp_path, {"a": (image, label)})
    fingerprint = make_fingerprint(dataset)
    assert fingerprint.channels[0].foreground_mean == pytest.approx(40, abs=0.5)
    assert fingerprint.channels[0].foreground_std == pytest.approx(10, rel=0.05)
    assert fingerprint.channels[0].foreground_high == pytest.approx(40 + 2.576 * 10, abs=2)
    assert fingerprint.cases["a"].channels[0]["maximum"] == pytest.approx(image.max(), rel=1e-5)
    assert make_fingerprint(dataset) == fingerprint


def test_histograms_count_every_sample_in_bins_that_suit_the_numbers(tmp_path):
    random = np.random.default_rng(5)
    label = np.zeros((8, 10, 12), np.uint8)
    label[:2] = 1
    whole = random.integers(0, 500, label.shape).astype(np.int16)
    for name, cases in {
        "whole": {"a": whole},
        "real": {"a": random.normal(0, 1e-3, label.shape).astype(np.float32)},
        "plain": {"a": np.full(label.shape, 7, np.uint8)},
        "scales": {"a": whole + 1, "b": (whole + 1).astype(np.float32) * 1000, "c": whole + 1},
    }.items():
        dataset = write_set(tmp_path / name, {case: (image, label) for case, image in cases.items()})
        (channel,) = make_fingerprint(dataset).channels
        assert sum(channel.image_histogram) == len(cases) * label.size
        assert sum(channel.foreground_histogram) == len(cases) * label[:2].size
        steps = np.diff(channel.histogram_edges)
        assert (steps > 0).all() and len(channel.image_histogram) == len(steps) <= 61
        if name == "whole":
            assert set(steps) == {9.0}
        if name == "scales":
            assert np.ptp(np.diff(np.log(channel.histogram_edges))) < 1e-3


def test_progress_tells_every_case(tmp_path):
    case = (np.zeros((2, 3, 4), np.uint8), np.ones((2, 3, 4), np.uint8))
    told = []
    make_fingerprint(write_set(tmp_path, {"a": case, "b": case}), lambda done, total: told.append((done, total)))
    assert told == [(1, 2), (2, 2)]


def test_saving_and_loading_changes_nothing(tmp_path):
    case = (np.arange(24, dtype=np.float32).reshape(2, 3, 4) / 7, np.ones((2, 3, 4), np.uint8))
    fingerprint = make_fingerprint(write_set(tmp_path, {"a": case}))
    fingerprint.save(tmp_path / "fingerprint.json")
    assert Fingerprint.load(tmp_path / "fingerprint.json") == fingerprint


@pytest.mark.parametrize("text", ["[]", "{}", '{"version": 1}', '{"version": 1, "dataset": "x", "channels": [{}]}'])
def test_a_file_that_is_no_fingerprint_is_refused(tmp_path, text):
    file = tmp_path / "fingerprint.json"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"fingerprint\.json"):
        Fingerprint.load(file)


def test_a_set_without_a_labelled_voxel_is_refused(tmp_path):
    dataset = write_set(tmp_path, {"a": (np.zeros((2, 3, 4), np.uint8), np.zeros((2, 3, 4), np.uint8))})
    with pytest.raises(UserError, match=r"no label map in .*labelsTr holds a labelled voxel"):
        make_fingerprint(dataset)


def test_pictures_among_volumes_are_refused(tmp_path):
    cases = {
        "a": (np.zeros((2, 3, 4), np.uint8), np.ones((2, 3, 4), np.uint8)),
        "b": (np.zeros((3, 4), np.uint8), np.ones((3, 4), np.uint8)),
    }
    with pytest.raises(UserError, match=r"b_0000\.nrrd is 2D but a_0000\.nrrd is 3D"):
        make_fingerprint(write_set(tmp_path, cases))


def test_labels_are_checked_in_the_same_pass(tmp_path):
    case = (np.zeros((2, 3, 4), np.uint8), np.full((2, 3, 4), 3, np.uint8))
    with pytest.raises(UserError, match=r"a\.nrrd holds label value\(s\) 3"):
        make_fingerprint(write_set(tmp_path, {"a": case}))


def test_a_real_ct_has_the_counts_and_range_that_its_files_have(shared):
    dataset = read_dataset(shared / "data" / "Dataset511_TotalSegCT")
    fingerprint = make_fingerprint(dataset)
    image, label = (
        sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
        for path in (dataset.cases[0].images[0], dataset.cases[0].label)
    )
    assert fingerprint.label_voxels["liver"] == (label == 4).sum()
    foreground = image[label > 0]
    channel = fingerprint.channels[0]
    assert channel.foreground_mean == pytest.approx(foreground.mean(), abs=0.05 * foreground.std())
    assert channel.foreground_high == pytest.approx(np.percentile(foreground, 99.5), abs=60)
    assert fingerprint.cases["ct_example"].size == image.shape[::-1]
