"""One optimizer step, with losses that are not finite and batches that do not fit into memory."""

import pytest
import torch
from torch import nn

from DinoUNetCore.errors import UserError
from DinoUNetCore.training.losses import make_loss
from DinoUNetCore.training.step import MOST_SKIPPED, Step
from DinoUNetCore.volume.label_scheme import LabelScheme


class Network(nn.Module):
    """A small network with a BatchNorm, on a device that holds `most` images."""

    def __init__(self, most: int = 100):
        super().__init__()
        self.most, self.seen = most, []
        self.layers = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1))

    def forward(self, images):
        self.seen.append(len(images))
        if len(images) > self.most:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        return self.layers(images)


def make_step(network: Network, said: list[str] | None = None) -> Step:
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    loss = make_loss(LabelScheme({"background": 0, "bright": 1}))
    return Step(network, network, loss, optimizer, scaler, 1.0, (said if said is not None else []).append)


@pytest.fixture
def batch():
    torch.manual_seed(0)
    images = torch.randn(6, 1, 16, 16)
    return images, (images[:, 0] > 0.5).long()


def state(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def same(first, second) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def test_steps_lower_the_loss(batch):
    step = make_step(Network().train())
    losses = [step(*batch) for _ in range(30)]
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_batch_that_gives_no_number_changes_nothing(batch, value):
    network = Network().train()
    step = make_step(network)
    step(*batch)
    before = state(network)
    broken = batch[0].clone()
    broken[2, 0, 3, 3] = value
    assert step(broken, batch[1]) is None
    assert same(before, state(network))  # weights, and the running means of the BatchNorm
    assert step(*batch) is not None


def test_a_gradient_that_is_not_finite_changes_nothing(batch):
    network = Network().train()
    step = make_step(network)
    before = state(network)
    handle = network.layers[0].weight.register_hook(lambda gradient: gradient * float("inf"))
    assert step(*batch) is None
    assert same(before, state(network))
    handle.remove()
    assert step(*batch) is not None


def test_many_in_a_row_end_the_training_with_the_reason(batch):
    step, broken = make_step(Network().train()), torch.full_like(batch[0], torch.nan)
    for _ in range(MOST_SKIPPED - 1):
        assert step(broken, batch[1]) is None
    step(*batch)  # one that counts begins the count anew
    for _ in range(MOST_SKIPPED):
        assert step(broken, batch[1]) is None
    with pytest.raises(UserError, match=r"diverged.*--learning-rate"):
        step(broken, batch[1])


def test_what_does_not_fit_is_taken_in_parts_from_then_on(batch):
    network, said = Network(most=2).train(), []
    step = make_step(network, said)
    losses = [step(*batch) for _ in range(3)]
    assert all(loss is not None for loss in losses)
    assert network.seen[:2] == [6, 3]  # tried
    assert network.seen[-4:] == [2, 2, 1, 1] and step.parts == 4
    assert len(said) == 2 and "in 4 parts" in said[1]


def test_parts_add_up_to_the_gradient_of_the_whole_batch(batch):
    """Without layers that look at the whole batch: a mean over the pixels."""
    gradients = []
    for most in (6, 3):
        torch.manual_seed(1)
        network = Network(most).eval()
        step = make_step(network)
        step.loss = nn.Module()
        step.loss.forward = lambda logits, target: nn.functional.cross_entropy(logits, target[:, 0])
        step(*batch)
        gradients.append(torch.cat([p.grad.flatten() for p in network.parameters()]))
    assert torch.allclose(*gradients, atol=1e-6)


def test_a_patch_that_does_not_fit_alone_is_a_users_matter(batch):
    with pytest.raises(UserError, match=r"not even one patch of 16x16 fits .*--patch-size"):
        make_step(Network(most=0).train())(*batch)


def test_other_errors_pass(batch):
    network = Network().train()
    network.layers[3] = nn.Conv2d(5, 2, 1)
    with pytest.raises(RuntimeError, match="channels"):
        make_step(network)(*batch)
