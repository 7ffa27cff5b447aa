"""The picture of augmented samples: there, for grey and coloured images, and the same for the same seed."""

import pytest
from small_dataset import write_small_dataset

from DinoUNetCore.dataset.augmentation import Augmentation, AugmentationSettings
from DinoUNetCore.dataset.fingerprint import make_fingerprint
from DinoUNetCore.dataset.label_scheme import scheme_of
from DinoUNetCore.dataset.layout import read_dataset
from DinoUNetCore.dataset.plan import make_plan
from DinoUNetCore.dataset.preprocessing import prepare_cases
from DinoUNetCore.dataset.slices import TrainingSlices
from DinoUNetCore.errors import UserError
from DinoUNetCore.training.augmentation_sheet import draw_augmentations


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """(slices, scheme) of a small data set."""
    folder = tmp_path_factory.mktemp("data")
    dataset = read_dataset(write_small_dataset(folder / "balls"))
    plan = make_plan(dataset, make_fingerprint(dataset), "tiny")
    cases = prepare_cases(dataset, plan, folder / "prepared")
    augmentation = Augmentation(AugmentationSettings(), (64, 64))
    return TrainingSlices([case for (case,) in cases.values()], (64, 64), 3, augmentation, seed=1), scheme_of(plan)


def pixels(path):
    from matplotlib.image import imread

    return imread(path)[..., :3]


def test_patch_and_augmentations_are_drawn_with_their_labels_in_colour(drawn, tmp_path):
    slices, scheme = drawn
    draw_augmentations(tmp_path / "sheet.png", slices, scheme, "Balls")
    picture = pixels(tmp_path / "sheet.png")
    coloured = (picture.max(axis=2) - picture.min(axis=2)) > 0.3  # all but the outlines is grey
    rows, columns = coloured.shape
    height, width = rows / 3.5, columns / 7  # about a panel
    filled = [
        coloured[int(rows - (3 - row) * height) : int(rows - (2 - row) * height),
                 int((3 + column) * width) : int((4 + column) * width)].any()
        for row in range(3) for column in range(4)
    ]  # fmt: skip
    assert coloured[:, : int(3 * width)].any() and sum(filled) >= 10  # a structure may be turned out of its patch
    draw_augmentations(tmp_path / "again.png", slices, scheme, "Balls")
    assert (pixels(tmp_path / "again.png") == picture).all()


def test_a_picture_that_cannot_be_written_is_told(drawn, tmp_path):
    slices, scheme = drawn
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(UserError, match=r"sheet\.png"):
        draw_augmentations(tmp_path / "file" / "sheet.png", slices, scheme, "Balls")
