"""Cases prepared in several planes: the same voxels seen from each side, whatever the storage order."""

from itertools import product

import numpy as np
import SimpleITK as sitk
from small_dataset import write_small_dataset
from smooth_images import reordered

from DinoUNetCore.dataset.augmentation import Augmentation, AugmentationSettings
from DinoUNetCore.dataset.fingerprint import make_fingerprint
from DinoUNetCore.dataset.layout import read_dataset
from DinoUNetCore.dataset.plan import make_plan
from DinoUNetCore.dataset.preprocessing import prepare_cases
from DinoUNetCore.dataset.slices import TrainingSlices

ALL = ["axial", "coronal", "sagittal"]


def plan_of(dataset, planes=ALL, spacing=(1.0, 1.0)):
    return make_plan(
        dataset, make_fingerprint(dataset), "tiny", planes=planes, spacing=spacing, patch_size=[64, 64]
    )


def test_every_plane_shows_the_same_body(tmp_path):
    dataset = read_dataset(write_small_dataset(tmp_path / "balls", cases=1, size=(20, 40, 48)))
    (cases,) = prepare_cases(dataset, plan_of(dataset, spacing=(0.5, 0.5)), tmp_path / "prepared").values()
    assert [case.plane for case in cases] == ALL
    # 48 x 40 x 20 voxels of 1 x 1 x 2 mm; slices keep their distance
    assert [case.shape for case in cases] == [(20, 80, 96), (40, 80, 96), (48, 80, 80)]
    assert all(case.aspect == 1.0 for case in cases)
    for number in (1, 2):
        counts = [(case.labels() == number).sum() for case in cases]
        amounts = [count * volume for count, volume in zip(counts, (0.5, 0.25, 0.25), strict=True)]  # mm3
        assert max(amounts) < 1.05 * min(amounts)
    axial, coronal, sagittal = (case.labels()[:] > 0 for case in cases)
    # the ball's middle in mm from the right, the front and the top
    middles = [
        [axial.any(axis=(0, 1)), axial.any(axis=(0, 2)), axial.any(axis=(1, 2))[::-1]],
        [coronal.any(axis=(0, 1)), coronal.any(axis=(1, 2)), coronal.any(axis=(0, 2))],
        [sagittal.any(axis=(1, 2)), sagittal.any(axis=(0, 1)), sagittal.any(axis=(0, 2))],
    ]
    sizes = [[0.5, 0.5, 2.0], [0.5, 1.0, 0.5], [1.0, 0.5, 0.5]]
    places = np.array(
        [
            [(np.flatnonzero(inside).mean() + 0.5) * size for inside, size in zip(row, each, strict=True)]
            for row, each in zip(middles, sizes, strict=True)
        ]
    )
    assert np.ptp(places, axis=0).max() < 0.8


def test_the_storage_order_does_not_matter(tmp_path):
    folder = write_small_dataset(tmp_path / "balls", cases=1, size=(9, 20, 24))
    files = [next((folder / name).glob("*.nii.gz")) for name in ("imagesTr", "labelsTr")]
    images = [sitk.ReadImage(str(file)) for file in files]
    expected = None
    for number, flips in enumerate(product((False, True), repeat=3)):
        for file, image in zip(files, images, strict=True):
            sitk.WriteImage(reordered(image, [(0, 1, 2), (2, 0, 1), (1, 0, 2)][number % 3], flips), str(file))
        dataset = read_dataset(folder)
        (cases,) = prepare_cases(dataset, plan_of(dataset), tmp_path / f"prepared {number}").values()
        expected = expected or cases
        for case, other in zip(cases, expected, strict=True):
            np.testing.assert_allclose(case.images(), other.images(), atol=2e-3)  # kept as float16
            np.testing.assert_array_equal(case.labels(), other.labels())
            assert case.slices_with == other.slices_with


def test_what_is_prepared_is_reused_and_other_planes_prepare_anew(tmp_path):
    dataset = read_dataset(write_small_dataset(tmp_path / "balls", cases=2))
    cases = prepare_cases(dataset, plan_of(dataset), tmp_path / "prepared")
    stamp = cases["case_0"][2].images_file.stat().st_mtime_ns
    assert prepare_cases(dataset, plan_of(dataset), tmp_path / "prepared") == cases
    assert cases["case_0"][2].images_file.stat().st_mtime_ns == stamp
    fewer = prepare_cases(dataset, plan_of(dataset, ["coronal"]), tmp_path / "prepared")
    assert [case.plane for case in fewer["case_1"]] == ["coronal"]
    assert not cases["case_0"][2].images_file.exists()


def test_a_single_slice_comes_once(tmp_path):
    dataset = read_dataset(write_small_dataset(tmp_path / "balls", cases=1, size=(1, 40, 48)))
    (cases,) = prepare_cases(dataset, plan_of(dataset), tmp_path / "prepared").values()
    assert [case.plane for case in cases] == ["axial"]


def test_samples_come_from_all_planes(tmp_path):
    dataset = read_dataset(write_small_dataset(tmp_path / "balls", cases=2, size=(20, 40, 48)))
    prepared = prepare_cases(dataset, plan_of(dataset), tmp_path / "prepared")
    augmentation = Augmentation(AugmentationSettings(0), (64, 64))
    cases = [case for planes in prepared.values() for case in planes]
    slices = TrainingSlices(cases, (64, 64), 1, augmentation, seed=1)
    images = {case.plane: [] for case in cases}
    for number in range(60):
        middle = slices[(0, number)][0].numpy()[0]
        for case in cases:
            rows, columns = (min(side, 64) for side in case.shape[1:])
            places = ((48 - rows // 2), (48 - columns // 2))
            inner = middle[places[0] : places[0] + rows, places[1] : places[1] + columns]
            if any(np.array_equal(inner, image[0]) for image in case.images()):
                images[case.plane].append(number)
    assert all(len(found) > 8 for found in images.values())
