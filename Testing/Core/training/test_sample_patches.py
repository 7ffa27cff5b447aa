"""Which cases and places a look at a data set shows."""

from collections import Counter
from dataclasses import replace
from itertools import permutations, product
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import SimpleITK as sitk
from equal_cases import make_set
from small_dataset import write_small_dataset
from smooth_images import reordered

from DinoUNetCore.dataset.fingerprint import make_fingerprint
from DinoUNetCore.dataset.layout import read_dataset
from DinoUNetCore.dataset.plan import make_plan
from DinoUNetCore.dataset.preprocessing import prepare_cases
from DinoUNetCore.dataset.slices import patch_of
from DinoUNetCore.training.sample_patches import choose_patches, plan_for_samples


def test_cases_come_from_all_over_the_set_and_include_the_only_one_with_a_rare_class():
    dataset, fingerprint = make_set(cases=40)
    for name, case in list(fingerprint.cases.items()):
        voxels = {**case.label_voxels, "spleen": 9 * (name == "case_31")}
        fingerprint.cases[name] = replace(case, label_voxels=voxels)
    (chosen,) = plan_for_samples(make_plan(dataset, fingerprint, "tiny"), fingerprint, 5).folds
    assert "case_31" in chosen and {"case_00", "case_39"} < set(chosen) and len(set(chosen)) == 5


@pytest.mark.parametrize(("cases", "count"), [(1, 5), (3, 3), (4, 12)])
def test_no_more_cases_than_there_are(cases, count):
    dataset, fingerprint = make_set(cases=cases)
    (chosen,) = plan_for_samples(make_plan(dataset, fingerprint, "tiny"), fingerprint, count).folds
    assert sorted(chosen) == sorted(case.name for case in dataset.cases)[:count]


def prepared(folder, **options):
    dataset = read_dataset(write_small_dataset(folder / "set", **options))
    plan = make_plan(dataset, make_fingerprint(dataset), "tiny", patch_size=[64, 64])
    return plan, [case for (case,) in prepare_cases(dataset, plan, folder / "prepared").values()]


def test_patches_are_what_the_network_gets_and_show_all_classes_equally(tmp_path):
    plan, cases = prepared(tmp_path, cases=2)
    shown: Counter = Counter()
    for case in cases:
        patches = choose_patches(case, plan, 4, shown)
        assert [patch.slice_index for patch in patches] == sorted(patch.slice_index for patch in patches)
        for patch in patches:
            image, label = patch_of(case, patch.slice_index, patch.centre, plan.patch_size, plan.context_slices)
            np.testing.assert_array_equal(patch.image, image)
            np.testing.assert_array_equal(patch.label, label[0])
            assert (patch.label > 0).any()
    assert shown == {1: 4, 2: 4}


def test_the_same_place_is_shown_once(tmp_path):
    plan, (case,) = prepared(tmp_path, cases=1, size=(60, 62))  # a picture that is smaller than a patch
    plan = replace(plan, patch_size=[128, 128])
    assert len(choose_patches(case, plan, 4, Counter())) == 1


def test_a_case_without_labels_shows_its_middle(tmp_path):
    plan, (case,) = prepared(tmp_path, cases=1)
    empty = replace(case, slices_with={0: list(range(case.shape[0]))})
    patches = choose_patches(empty, plan, 2, Counter())
    assert [patch.slice_index for patch in patches] == [1, 4]


@pytest.mark.parametrize("turn", [0.0, 0.35])
def test_however_a_case_is_stored_the_same_patches_are_shown(tmp_path, turn):
    """All 48 axis orders and flips, upright and in a tilted direction (turn: radians about the body's long axis)."""
    folder = write_small_dataset(tmp_path / "set", cases=1)
    files = [next((folder / name).glob("*.nii.gz")) for name in ("imagesTr", "labelsTr")]
    images = [sitk.ReadImage(str(file)) for file in files]
    cos, sin = np.cos(turn), np.sin(turn)
    plan, expected = None, None
    for permutation in permutations(range(3)):
        for flips in product((False, True), repeat=3):
            for file, image in zip(files, images, strict=True):
                image.SetDirection((cos, -sin, 0, sin, cos, 0, 0, 0, 1))
                sitk.WriteImage(reordered(image, permutation, flips), str(file))
            dataset = read_dataset(folder)
            plan = plan or make_plan(dataset, make_fingerprint(dataset), "tiny", patch_size=[64, 64])
            with TemporaryDirectory(dir=tmp_path) as place:
                ((case,),) = prepare_cases(dataset, plan, Path(place) / "prepared").values()
                patches = choose_patches(case, plan, 4, Counter())
                found = [(patch.slice_index, patch.centre, patch.image.copy(), patch.label.copy()) for patch in patches]
            expected = expected or found
            for one, other in zip(found, expected, strict=True):
                assert one[:2] == other[:2]
                np.testing.assert_allclose(one[2], other[2], atol=2e-3)  # sums in another order, kept as float16
                np.testing.assert_array_equal(one[3], other[3])
