"""One optimizer step of several processes: the same as that of one with the whole batch."""

import re

import pytest
import torch
from joined_processes import in_processes
from torch import nn

from DinoUNetCore.errors import UserError
from DinoUNetCore.training import gradients
from DinoUNetCore.training.batch_norm import share_batch_norms
from DinoUNetCore.training.gradients import GradientMean, send_from_first
from DinoUNetCore.training.loading import places_in_batch
from DinoUNetCore.training.losses import make_loss
from DinoUNetCore.training.processes import ALONE
from DinoUNetCore.training.step import Step
from DinoUNetCore.volume.label_scheme import LabelScheme

SCHEME = LabelScheme({"background": 0, "one": 1})
PATCHES = 5


class Network(nn.Module):
    """With a BatchNorm, and a head that gets no gradient."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1))
        self.unused = nn.Conv2d(4, 2, 1)

    def forward(self, images):
        return self.layers(images)


def make_step(processes, parts):
    torch.manual_seed(1 + processes.rank)  # all get the first one's
    network = Network().train()
    send_from_first(network, processes)
    share_batch_norms(network, processes)
    optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    loss = make_loss(SCHEME, processes.total)
    return Step(network, network, loss, optimizer, scaler, 1.0, str, parts, processes, PATCHES)


def batch():
    images = torch.randn(PATCHES, 1, 16, 16, generator=torch.Generator().manual_seed(2))
    return images, (images[:, 0] > 0.5).long()


def steps(processes, parts):
    """Losses of three steps, the second of which gives none, and the weights at the end."""
    gradients.BUCKET = 10  # several are sent
    step = make_step(processes, parts)
    places = places_in_batch(PATCHES, parts, processes)
    images, classes = (tensor[places] for tensor in batch())
    broken = images.clone()
    if processes.rank == processes.count - 1:
        broken[0, 0, 3, 3] = torch.nan
    losses = [step(images, classes), step(broken, classes), step(images, classes)]
    return losses, step.network.state_dict()


def too_large(processes):
    def fails(images):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

    step = make_step(processes, 1)
    step.forward = fails
    try:
        step(*batch())
    except UserError as error:
        return str(error)


def crossed(processes):
    """Gradients of two layers, which become ready in another order in every other process."""
    layers = nn.ModuleList(nn.Linear(4, 3) for _ in range(2))
    mean = GradientMean(layers, processes)
    mean.overlaps = False
    image = torch.full((1, 4), 1.0 + processes.rank)
    loss = sum((2 + number) * layers[number](image).sum() for number in ((0, 1) if processes.first else (1, 0)))
    mean.backward(loss, last=True)
    return [float(parameter.grad.mean()) for parameter in layers.parameters()]


def everything(processes):
    return {
        1: steps(processes, 1), 2: steps(processes, 2), "refused": too_large(processes), "crossed": crossed(processes)
    }  # fmt: skip


@pytest.fixture(scope="module")
def seen():
    return in_processes(2, everything)


@pytest.mark.parametrize("parts", [1, 2])
def test_steps_are_those_of_one_process_with_the_whole_batch(seen, parts, monkeypatch):
    monkeypatch.setattr(gradients, "BUCKET", gradients.BUCKET)
    expected_losses, expected = steps(ALONE, parts)
    for losses, state in (one[parts] for one in seen):
        assert losses[1] is expected_losses[1] is None
        assert losses[::2] == pytest.approx(expected_losses[::2], rel=1e-5)
        for name, tensor in expected.items():
            torch.testing.assert_close(state[name], tensor, rtol=1e-4, atol=1e-6, msg=name)


def test_a_lack_of_memory_is_a_users_matter_where_several_would_have_to_agree(seen):
    for one in seen:
        assert re.search("do not fit.*--accumulate 2.*--batch-size", one["refused"])


def test_gradients_may_become_ready_in_any_order_where_none_is_sent_before_the_last(seen):
    for one in seen:
        assert one["crossed"] == [3.0, 2.0, 4.5, 3.0]  # weight and bias of each layer, for an image of 1.5
