"""The loss: the authors' numbers, MONAI's, regions, ignored pixels, and batches shared among processes."""

import json
import sys

import numpy as np
import pytest
import torch
from joined_processes import in_processes
from torch.nn import functional

from DinoUNetCore.training.losses import make_loss
from DinoUNetCore.volume.label_scheme import LabelScheme

CLASSES = LabelScheme({"background": 0, "one": 1, "two": 2})
IGNORING = LabelScheme({"background": 0, "one": 1, "two": 2}, None, 3)
REGIONS = LabelScheme({"background": 0, "whole": 1, "core": 2}, {"whole": [1, 2], "core": [2]})
IGNORING_REGIONS = LabelScheme(REGIONS.labels, REGIONS.regions, 3)


@pytest.fixture
def extras(shared):
    return json.loads((shared / "fixtures" / "extras.json").read_text(encoding="utf-8"))


@pytest.fixture
def authors(shared):
    """The logits and classes of extras.json."""
    sys.path.insert(0, str(shared / "fixtures"))
    try:
        import rules
    finally:
        sys.path.pop(0)
    logits = torch.from_numpy((2 * rules.normal("loss:logits", (4, 3, 32, 40))).astype(np.float32)).requires_grad_()
    classes = np.random.default_rng(11).integers(0, 3, (4, 1, 32, 40))
    classes[0] = 0
    return logits, torch.from_numpy(classes)


def random_batch(scheme: LabelScheme, size: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and class indices, some of which are ignored if the scheme has such."""
    torch.manual_seed(0)
    classes = torch.randint(0, len(scheme.known_values), (size, 1, 9, 10), dtype=torch.uint8)
    return torch.randn(size, scheme.outputs, 9, 10, requires_grad=True), classes


def test_the_loss_is_the_authors_plus_one(extras, authors):
    logits, classes = authors
    loss = make_loss(CLASSES)(logits, classes)
    loss.backward()
    expected = extras["loss_batch_dice_True"]
    assert loss.item() == pytest.approx(expected["total"] + 1, abs=1e-6)
    assert logits.grad.norm().item() == pytest.approx(expected["grad_norm"], rel=1e-5)


def test_the_loss_with_ignored_pixels_is_the_authors_plus_one(extras, authors):
    logits, classes = authors
    classes[:, :, :8] = 3
    assert make_loss(IGNORING)(logits, classes).item() == pytest.approx(
        extras["loss_ignore_label_3_in_rows_0_7"] + 1, abs=1e-6
    )


def test_the_loss_of_classes_equals_monais():
    monai = pytest.importorskip("monai.losses")
    theirs = monai.DiceCELoss(
        include_background=False, to_onehot_y=True, softmax=True, batch=True, smooth_nr=1e-5, smooth_dr=1e-5
    )
    logits, classes = random_batch(CLASSES)
    ours, gradient = loss_and_gradient(make_loss(CLASSES), logits, classes)
    loss, expected = loss_and_gradient(theirs, logits, classes)
    assert ours == pytest.approx(loss, abs=1e-6)
    torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-8)


def test_the_loss_of_regions_equals_monais():
    monai = pytest.importorskip("monai.losses")
    dice = monai.DiceLoss(sigmoid=True, batch=True, smooth_nr=1e-5, smooth_dr=1e-5)

    def theirs(logits, classes):
        truth = torch.cat([classes >= 1, classes == 2], dim=1).float()
        return dice(logits, truth) + functional.binary_cross_entropy_with_logits(logits, truth)

    logits, classes = random_batch(REGIONS)
    ours, gradient = loss_and_gradient(make_loss(REGIONS), logits, classes)
    loss, expected = loss_and_gradient(theirs, logits, classes)
    assert ours == pytest.approx(loss, abs=1e-6)
    torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize(("scheme", "plain"), [(IGNORING, CLASSES), (IGNORING_REGIONS, REGIONS)])
def test_ignored_pixels_change_neither_loss_nor_gradient(scheme, plain):
    logits, classes = random_batch(scheme)
    ignored = classes == scheme.ignore_index
    loss, gradient = loss_and_gradient(make_loss(scheme), logits, classes)
    assert (gradient[ignored.expand_as(gradient)] == 0).all() and (gradient != 0).any()
    other = torch.where(ignored, 50 * torch.randn_like(logits), logits).detach().requires_grad_()
    assert loss_and_gradient(make_loss(scheme), other, classes)[0] == pytest.approx(loss, abs=1e-6)

    # what is left is the loss of the judged pixels alone, laid out in another way
    judged = ~ignored[:, 0]
    left = logits.detach().movedim(1, -1)[judged].T[None, :, :, None].requires_grad_()
    alone, its_gradient = loss_and_gradient(make_loss(plain), left, classes[:, 0][judged][None, None, :, None])
    assert alone == pytest.approx(loss, abs=1e-6)
    torch.testing.assert_close(its_gradient[0, :, :, 0].T, gradient.movedim(1, -1)[judged], rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("scheme", [IGNORING, IGNORING_REGIONS])
def test_a_batch_of_ignored_pixels_alone_teaches_nothing(scheme):
    logits, classes = random_batch(scheme)
    loss, gradient = loss_and_gradient(make_loss(scheme), logits, torch.full_like(classes, scheme.ignore_index))
    assert loss == 0 and (gradient == 0).all()


@pytest.mark.parametrize(("scheme", "plain"), [(IGNORING, CLASSES), (IGNORING_REGIONS, REGIONS)])
def test_an_ignore_label_that_does_not_occur_changes_nothing(scheme, plain):
    logits, classes = random_batch(plain)
    assert make_loss(scheme)(logits, classes).item() == pytest.approx(make_loss(plain)(logits, classes).item())


def test_a_single_region_has_a_single_output():
    scheme = LabelScheme({"background": 0, "whole": 1}, {"whole": [1, 2]})
    logits, classes = torch.full((1, 1, 4, 4), -20.0), torch.zeros(1, 1, 4, 4, dtype=torch.int64)
    classes[0, 0, :2] = 2
    logits[0, 0, :2] = 20
    assert make_loss(scheme)(logits, classes).item() == pytest.approx(0, abs=1e-6)


def loss_and_gradient(loss, logits, classes):
    logits = logits.detach().requires_grad_()
    value = loss(logits, classes)
    value.backward()
    return value.item(), logits.grad


def test_two_processes_with_a_part_of_the_batch_each_have_the_loss_and_gradient_of_all():
    parts = in_processes(2, losses_of_a_part)
    for number, scheme in enumerate((IGNORING, IGNORING_REGIONS)):
        loss, gradient = loss_and_gradient(make_loss(scheme), *random_batch(scheme))
        assert [part[number][0] for part in parts] == pytest.approx([loss, loss], abs=1e-6)
        # each process has the gradient of the sum of both losses; DDP takes the mean
        together = torch.cat([torch.from_numpy(part[number][1]) for part in parts]) / 2
        torch.testing.assert_close(together, gradient, rtol=1e-5, atol=1e-8)


def losses_of_a_part(processes):
    part = slice(0, 4) if processes.first else slice(4, 6)  # unequal parts
    results = []
    for scheme in (IGNORING, IGNORING_REGIONS):
        logits, classes = (tensor.detach()[part] for tensor in random_batch(scheme))
        loss, gradient = loss_and_gradient(make_loss(scheme, processes.total), logits, classes)
        results.append((loss, gradient.numpy()))
    return results
