"""BatchNorm over several processes: as if one had the whole batch."""

import pytest
import torch
from joined_processes import in_processes
from torch import nn

from DinoUNetCore.network.dino_unet import DinoUNet
from DinoUNetCore.training.batch_norm import SharedBatchNorm2d, share_batch_norms
from DinoUNetCore.training.processes import ALONE, Processes

SIZES = [3, 2]


def network() -> nn.Module:
    torch.manual_seed(1)
    layers = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3, momentum=0.2), nn.ReLU(), nn.Conv2d(3, 2, 1))
    nn.init.normal_(layers[1].weight)
    return layers.double().train()


def batch() -> torch.Tensor:
    return 5 + torch.randn(sum(SIZES), 2, 6, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def two_passes(layers, images):
    """Outputs, gradients of images and parameters (of the sum of all processes' sums of squares), and the state."""
    for _ in range(2):
        layers.zero_grad()
        images = images.detach().requires_grad_()
        outputs = layers(images)
        outputs.square().sum().backward()
    gradients = {name: parameter.grad for name, parameter in layers.named_parameters()}
    return {"outputs": outputs.detach(), "images": images.grad, "gradients": gradients, "state": layers.state_dict()}


def shared_passes(processes):
    layers = network()
    share_batch_norms(layers, processes)
    assert isinstance(layers[1], SharedBatchNorm2d)
    own = two_passes(layers, batch().split(SIZES)[processes.rank])
    own["evaluated"] = layers.eval()(batch())
    return {name: value.detach() if isinstance(value, torch.Tensor) else value for name, value in own.items()}


@pytest.fixture(scope="module")
def parts():
    return in_processes(2, shared_passes)


@pytest.fixture(scope="module")
def whole():
    layers = network()
    result = two_passes(layers, batch())
    return result | {"evaluated": layers.eval()(batch()).detach()}


def test_outputs_and_gradients_of_uneven_parts_are_those_of_the_whole_batch(parts, whole):
    for name in ("outputs", "images"):
        torch.testing.assert_close(torch.cat([part[name] for part in parts]), whole[name])
    for name, gradient in whole["gradients"].items():
        torch.testing.assert_close(sum(part["gradients"][name] for part in parts), gradient, msg=name)


def test_running_statistics_are_those_of_the_whole_batch_under_the_same_names(parts, whole):
    for part in parts:
        assert list(part["state"]) == list(whole["state"])
        for name, tensor in whole["state"].items():
            torch.testing.assert_close(part["state"][name], tensor, msg=name)
        torch.testing.assert_close(part["evaluated"], whole["evaluated"])


def test_all_batch_norms_of_the_network_are_replaced_and_its_parameters_stay_the_same_objects():
    ours = DinoUNet("tiny")
    before, state = dict(ours.named_parameters()), list(ours.state_dict())
    share_batch_norms(ours, Processes(0, 2))
    norms = [module for module in ours.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms and all(isinstance(norm, SharedBatchNorm2d) for norm in norms)
    assert list(ours.state_dict()) == state
    assert all(parameter is before[name] for name, parameter in ours.named_parameters())


def test_one_process_keeps_torchs_batch_norm():
    ours = DinoUNet("tiny")
    share_batch_norms(ours, ALONE)
    assert not any(isinstance(module, SharedBatchNorm2d) for module in ours.modules())
