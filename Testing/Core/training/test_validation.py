"""Dice on patches: over all of them, of classes and of regions, without ignored pixels."""

import pytest
import torch

from DinoUNetCore.training.targets import drawn
from DinoUNetCore.training.validation import dice_on_patches
from DinoUNetCore.volume.label_scheme import LabelScheme

CLASSES = LabelScheme({"background": 0, "one": 1, "two": 2})
REGIONS = LabelScheme({"background": 0, "whole": 1, "core": 2}, {"whole": [1, 2], "core": [2]}, ignore=3)


def one_hot(image):
    """The image holds the class that the network is to find."""
    return torch.nn.functional.one_hot(image[:, 0].long(), 3).permute(0, 3, 1, 2).float()


@pytest.fixture
def patches():
    truth, guess = (torch.zeros(2, 4, 4, dtype=torch.int64) for _ in range(2))
    truth[0, :2], guess[0, :1] = 1, 1  # 8 and 4 pixels, 4 in common; class 2 occurs nowhere
    guess[1, 0, 0] = 1
    return truth, guess


def test_dice_is_taken_over_all_patches_and_none_for_absent_classes(patches):
    truth, guess = patches
    batches = [(guess[:1, None].float(), truth[:1]), (guess[1:, None].float(), truth[1:])]
    assert dice_on_patches(batches, CLASSES, one_hot) == [pytest.approx(2 * 4 / (8 + 5)), None]


def test_ignored_pixels_are_left_out(patches):
    truth, guess = patches
    truth[1, 0, 0] = 3
    scheme = LabelScheme(CLASSES.labels, None, 3)
    assert dice_on_patches([(guess[:, None].float(), truth)], scheme, one_hot) == [pytest.approx(2 * 4 / (8 + 4)), None]


def test_regions_are_found_where_their_probability_is_above_one_half():
    classes = torch.tensor([[[0, 1, 2, 3]]])
    logits = torch.tensor([[-1.0, 2.0, 3.0, 9.0], [-1.0, 0.5, -0.5, 9.0]]).view(1, 2, 1, 4)
    batches = [(torch.zeros(1, 1, 1, 4), classes)]
    assert dice_on_patches(batches, REGIONS, lambda image: logits) == [1.0, 0.0]


def test_the_sums_of_other_processes_count_too(patches):
    truth, guess = patches
    seen = []

    def total(counts):
        seen.append(counts)
        return counts + torch.tensor([[0, 1], [0, 2], [0, 3]])

    batches = [(guess[:, None].float(), truth)]
    assert dice_on_patches(batches, CLASSES, one_hot, total) == [pytest.approx(8 / 13), pytest.approx(2 / 5)]
    assert len(seen) == 1  # one message for all
    assert dice_on_patches([], CLASSES, one_hot, total) == [None, pytest.approx(2 / 5)]  # a process without patches


def test_what_is_drawn_is_what_a_label_map_would_show():
    logits = torch.tensor([[-1.0, 2.0, 3.0, -9.0], [-1.0, -0.5, 0.5, 9.0]]).view(1, 2, 1, 4)
    assert drawn(logits, REGIONS).flatten().tolist() == [0, 1, 2, 2]
    assert drawn(one_hot(torch.tensor([[[[2.0, 0.0]]]])), CLASSES).flatten().tolist() == [2, 0]
