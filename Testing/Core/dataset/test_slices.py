"""Preparing cases and drawing samples: aligned, reproducible, with enough foreground."""

import numpy as np
import pytest
import torch
from small_dataset import write_small_dataset

from DinoUNetCore.dataset.augmentation import Augmentation, AugmentationSettings
from DinoUNetCore.dataset.fingerprint import make_fingerprint
from DinoUNetCore.dataset.layout import read_dataset
from DinoUNetCore.dataset.plan import make_plan
from DinoUNetCore.dataset.preprocessing import prepare_cases, resize_classes
from DinoUNetCore.dataset.slices import TrainingSlices, collate_windows, cut_patch, slice_with_context

ROTATED = AugmentationSettings(rotation=180, rotation_probability=1.0)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    dataset = read_dataset(write_small_dataset(folder / "balls"))
    plan = make_plan(dataset, make_fingerprint(dataset), "tiny")
    return dataset, plan, prepare_cases(dataset, plan, folder / "prepared"), folder


def test_pictures_are_prepared_alike_whatever_resolution_they_store(tmp_path):
    images = []
    for name, resolutions in (("plain", (1.0, 1.0)), ("printed", (0.0846, 0.35))):
        dataset = read_dataset(write_small_dataset(tmp_path / name, size=(70, 90), resolutions=resolutions))
        plan = make_plan(dataset, make_fingerprint(dataset), "tiny")
        case = prepare_cases(dataset, plan, tmp_path / f"{name} prepared")["case_0"][0]
        assert case.aspect == pytest.approx(1, rel=0.01)
        images.append(case.images())
    assert np.array_equal(*images)


def all_of(cases):
    """The cases in all of the plan's planes."""
    return [case for planes in cases.values() for case in planes]


def slices_of(prepared, settings=None, context_slices=3, patch=(64, 64)):
    _, _, cases, _ = prepared
    augmentation = Augmentation(settings or AugmentationSettings(30), patch)
    return TrainingSlices(all_of(cases), patch, context_slices, augmentation, seed=1)


def augmented(slices, *indices):
    """Images and classes of a batch."""
    return slices.augmentation(collate_windows([slices[index] for index in indices]), "cpu")


def test_validation_sees_the_middles_of_the_windows_that_training_cuts(prepared):
    _, _, cases, _ = prepared
    plain = TrainingSlices(all_of(cases), (64, 64), 3, None, seed=1)
    for number in range(4):
        image, label = plain[(0, number)]
        window, classes, _ = slices_of(prepared)[(0, number)]
        assert window.shape == (3, 96, 96) and window.dtype == torch.float16
        assert torch.equal(image, window[:, 16:80, 16:80].float())
        assert torch.equal(label, classes[16:80, 16:80].long())


def test_a_sample_depends_on_seed_epoch_and_number_alone(prepared):
    one, two = slices_of(prepared), slices_of(prepared)
    two[(0, 5)], two[(3, 2)]  # what was drawn before must not matter
    indices = [(0, 0), (0, 1), (4, 2)]
    image, label = augmented(one, *indices)
    for position, index in enumerate(indices):
        again, label_again = augmented(two, index)  # nor must the batch
        assert (image[position] - again[0]).abs().max() < 1e-4 and torch.equal(label[position], label_again[0])
    assert not torch.equal(one[(0, 0)][0], one[(1, 0)][0])
    assert not torch.equal(one[(0, 0)][0], one[(0, 1)][0])


def test_samples_have_the_planned_shape_and_types(prepared):
    image, label = augmented(slices_of(prepared), (0, 0), (0, 1))
    assert image.shape == (2, 3, 64, 64) and image.dtype == torch.float32
    assert label.shape == (2, 64, 64) and label.dtype == torch.int64
    assert label.min() >= 0 and label.max() <= 2


def test_image_and_label_stay_together_under_all_augmentations(prepared):
    # both classes are much brighter than the background, so brightness shows whether the label lies on its ball
    images, labels = augmented(slices_of(prepared, ROTATED, context_slices=1), *((0, number) for number in range(60)))
    inside, outside = [], []
    for image, label in zip(images, labels, strict=True):
        if 50 < (label > 0).sum() < 64 * 64 - 50:
            inside.append(image[0][label > 0].mean().item())
            outside.append(image[0][label == 0].mean().item())
    assert len(inside) > 20
    assert np.mean(np.array(inside) > np.array(outside) + 0.5) > 0.95


def test_labels_of_many_classes_reach_the_device(tmp_path):
    names = {"background": 0} | {f"label {value}": value for value in range(1, 300)}
    dataset = read_dataset(write_small_dataset(tmp_path / "many", cases=1, labels=names))
    plan = make_plan(dataset, make_fingerprint(dataset), "tiny")
    cases = prepare_cases(dataset, plan, tmp_path / "prepared")
    assert cases["case_0"][0].labels().dtype == np.uint16
    slices = TrainingSlices(all_of(cases), (64, 64), 1, Augmentation(ROTATED, (64, 64)), seed=1)
    assert augmented(slices, (0, 2))[1].max() > 255


def test_every_third_sample_shows_foreground(prepared):
    drawn = slices_of(prepared)
    assert all((drawn[(0, number)][1][16:80, 16:80] > 0).any() for number in range(2, 40, 3))


def test_without_augmentation_a_patch_is_a_piece_of_the_prepared_slice(prepared):
    _, _, cases, _ = prepared
    image, label = TrainingSlices(all_of(cases), (64, 64), 1, None, seed=1)[(0, 1)]
    pieces = []
    for case in all_of(cases):
        images, labels = case.images().astype(np.float32), case.labels()
        rows, columns = (max(0, side - 64) + 1 for side in labels.shape[1:])
        for index in range(len(images)):
            for row in range(rows):
                for column in range(columns):
                    piece = images[index, 0, row : row + 64, column : column + 64]
                    if piece.shape == (64, 64) and np.abs(piece - image[0].numpy()).max() < 1e-3:
                        pieces.append((labels[index, row : row + 64, column : column + 64], label.numpy()))
    assert pieces and all((ours == theirs).all() for ours, theirs in pieces)


def test_context_slices_are_the_neighbours_and_repeat_at_the_ends():
    images = np.arange(4, dtype=np.float16)[:, None, None, None] * np.ones((1, 1, 2, 2), dtype=np.float16)
    assert [slice_with_context(images, i, 3)[:, 0, 0].tolist() for i in (0, 1, 3)] == [[0, 0, 1], [0, 1, 2], [2, 3, 3]]
    assert slice_with_context(images, 2, 1)[:, 0, 0].tolist() == [2]


def test_patches_beyond_the_border_repeat_it():
    array = np.arange(6).reshape(1, 2, 3)
    patch = cut_patch(array, (1, 1), (4, 5))
    assert patch[0].tolist() == [[0, 0, 1, 2, 2], [0, 0, 1, 2, 2], [3, 3, 4, 5, 5], [3, 3, 4, 5, 5]]


def test_prepared_cases_hold_class_indices_and_are_reused(prepared):
    dataset, plan, cases, folder = prepared
    case = cases["case_0"][0]
    assert sorted(np.unique(case.labels())) == [0, 1, 2]  # the values in the files are 0, 1 and 4
    assert case.slices_with[2] == [i for i in range(6) if (case.labels()[i] == 2).any()]
    stamp = case.images_file.stat().st_mtime_ns
    assert prepare_cases(dataset, plan, folder / "prepared")["case_0"] == [case]
    assert case.images_file.stat().st_mtime_ns == stamp
    assert abs(np.asarray(case.images(), dtype=np.float64).mean()) < 0.1  # z-scored


def test_another_plan_prepares_anew(tmp_path):
    dataset = read_dataset(write_small_dataset(tmp_path / "balls", cases=2))
    plan = make_plan(dataset, make_fingerprint(dataset), "tiny")
    first = prepare_cases(dataset, plan, tmp_path / "prepared")["case_0"][0].shape
    plan.spacing = [side * 2 for side in plan.spacing]
    (case,) = prepare_cases(dataset, plan, tmp_path / "prepared")["case_0"]
    assert case.shape[1] == pytest.approx(first[1] / 2, abs=1)


def test_resized_classes_have_smooth_borders_and_keep_their_place():
    rows, columns = np.indices((20, 20))
    disc = ((rows - 9.5) ** 2 + (columns - 9.5) ** 2 < 49).astype(np.uint8) * 3
    large = resize_classes(disc[None], (60, 60))[0]
    assert set(np.unique(large)) == {0, 3}
    big_rows, big_columns = np.indices((60, 60))
    expected = (big_rows - 29.5) ** 2 + (big_columns - 29.5) ** 2 < 21**2
    assert (expected != (large == 3)).sum() < 0.05 * expected.sum()  # shifted by one pixel, 6 % would differ
    assert (large == large[::-1]).all() and (large == large[:, ::-1]).all()
