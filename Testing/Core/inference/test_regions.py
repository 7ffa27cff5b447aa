"""Regions that may overlap: how label maps and probabilities come out of their outputs."""

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from smooth_images import image_of, smooth

from DinoUNetCore.errors import UserError
from DinoUNetCore.inference.probabilities import ProbabilityFiles
from DinoUNetCore.inference.segmenter import Segmenter
from DinoUNetCore.inference.summary import summary
from DinoUNetCore.volume.label_scheme import LabelScheme

REGIONS = {"whole": [1, 2, 5], "edge": [5], "core": [2, 5]}
LABELS = {"whole": 1, "edge": 5, "core": 2}

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def segmented(random_bundle):
    """(bundle, segmenter, image, logits of every slice)."""
    bundle = random_bundle(labels=LABELS, regions=REGIONS)
    array = smooth((3, 50, 60), dtype=np.float32)
    normal = torch.from_numpy((array - array.mean()) / array.std())[:, None]
    with torch.inference_mode():
        logits = bundle.build_network()(normal).numpy()
    return bundle, Segmenter(bundle, "cpu"), image_of(array), logits


def test_the_size_of_a_region_is_that_of_all_its_values():
    labels = np.zeros((2, 4, 5), np.uint8)
    labels[0, :2], labels[1, :1] = 2, 5  # all that is whole is core, too
    described = LabelScheme({"background": 0, **LABELS}, REGIONS).described
    said = summary(image_of(labels), described, list(REGIONS.values()))
    sizes = {line.split()[0]: int(line.split()[1]) for line in said.splitlines() if "voxels" in line}
    by_value = {name: sizes[name] for name in ("whole", "core", "edge")}
    assert by_value == {"whole": 15, "core": 15, "edge": 5} and "not found" not in said


def test_the_largest_piece_of_overlapping_structures_is_refused(random_bundle):
    with pytest.raises(UserError, match=r"overlap.*leave out --keep-largest"):
        Segmenter(random_bundle(labels=LABELS, regions=REGIONS), "cpu", keep_largest=True)


def test_found_regions_are_written_in_their_order_later_ones_over_earlier_ones(segmented):
    _, segmenter, image, logits = segmented
    labels = sitk.GetArrayFromImage(segmenter.segment(image))
    expected = np.zeros_like(labels)
    for number, value in enumerate(LABELS.values()):
        expected[logits[:, number] > 0] = value
    assert (labels == expected).mean() > 0.999  # logits near 0 may fall on either side
    assert set(np.unique(labels)) == {0, 1, 2, 5}


def test_probabilities_of_regions_do_not_exclude_each_other(segmented, tmp_path):
    bundle, segmenter, image, logits = segmented
    files = ProbabilityFiles(tmp_path, "case", bundle.labels)
    segmenter.segment(image, probabilities=files)
    assert [path.name for path in files.paths] == ["case_1_whole.mha", "case_5_edge.mha", "case_2_core.mha"]
    maps = np.stack([sitk.GetArrayFromImage(sitk.ReadImage(str(path))) for path in files.paths], axis=1)
    np.testing.assert_allclose(maps, 1 / (1 + np.exp(-logits)), atol=1e-3)
    assert maps.sum(axis=1).max() > 1.2


def test_the_highest_probability_of_each_region_is_told_if_asked_for(segmented):
    _, segmenter, image, logits = segmented
    highest = {}
    segmenter.label(segmenter.volume_of(image), highest=highest)
    expected = 1 / (1 + np.exp(-logits.max(axis=(0, 2, 3))))
    assert highest == pytest.approx(dict(zip(LABELS.values(), expected, strict=True)), abs=1e-3)


def test_a_single_region_is_found_where_its_probability_is_above_one_half(random_bundle):
    bundle = random_bundle(labels={"whole": 3}, regions={"whole": [1, 3]})
    array = smooth((1, 50, 60), dtype=np.float32)
    normal = torch.from_numpy((array - array.mean()) / array.std())[:, None]
    with torch.inference_mode():
        expected = 3 * (bundle.build_network()(normal)[:, 0] > 0).numpy()
    labels = sitk.GetArrayFromImage(Segmenter(bundle, "cpu").segment(image_of(array)))
    assert (labels == expected).mean() > 0.999 and set(np.unique(labels)) == {0, 3}
