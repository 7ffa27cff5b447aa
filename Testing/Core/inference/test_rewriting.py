"""Networks are rewritten where that computes rightly and faster, which is found out once."""

import platform

import pytest
import torch

from DinoUNetCore.inference import rewriting
from DinoUNetCore.inference.rewriting import agree, for_inference, pays, trial_network
from DinoUNetCore.measurements import key_of, recalled, remember
from DinoUNetCore.network.dino_unet import DinoUNet

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def two_rounds(monkeypatch):
    monkeypatch.setattr(rewriting, "ROUNDS", 2)
    monkeypatch.setattr(rewriting, "SIDE", 128)


@pytest.fixture
def unknown_processor(monkeypatch, tmp_path):
    """A computer whose CPU is of another kind; gives the file in which it remembers."""
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    monkeypatch.setattr(rewriting, "memory_file", lambda: tmp_path / "measurements.json")
    return tmp_path / "measurements.json"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_both_ways_compute_the_same_and_what_is_found_is_remembered(tmp_path, dtype):
    said, memory = [], tmp_path / "measurements.json"
    found = pays(CPU, dtype, said.append, memory)
    assert len(said) == 1 and "done once" in said[0], "and nothing of wrong results"
    key = key_of(CPU, "rewritten network", dtype)
    assert recalled(memory, key) is found
    for known in (True, False):
        remember(memory, key, known)
        assert pays(CPU, dtype, said.append, memory) is known
    assert len(said) == 1


def test_a_rewritten_network_that_computes_wrongly_is_not_taken(monkeypatch):
    def flipped(network, dtype):
        network.decoder.register_forward_hook(lambda _module, _inputs, features: features.flip(-1))
        return network

    monkeypatch.setattr(rewriting, "optimize", flipped)
    said = []
    assert not pays(CPU, torch.float32, said.append, None)
    assert len(said) == 1


def test_a_kernel_that_is_missing_is_no_error(monkeypatch):
    def lacking(network, dtype):
        raise NotImplementedError("no such kernel")

    monkeypatch.setattr(rewriting, "optimize", lacking)
    assert not pays(CPU, torch.float32, [].append, None)


def test_a_device_on_which_both_ways_are_wrong_is_told_of(monkeypatch):
    monkeypatch.setattr(rewriting, "agree", lambda found, expected: False)
    said = []
    assert not pays(CPU, torch.float32, said.append, None)
    assert "choose the device cpu" in said[1]


def test_without_memory_for_the_trial_the_usual_way_is_taken_and_nothing_remembered(monkeypatch, tmp_path):
    def without_memory(network, dtype):
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(rewriting, "optimize", without_memory)
    assert pays(CPU, torch.float32, [].append, tmp_path / "measurements.json")
    assert not list(tmp_path.iterdir())


def test_features_agree_but_for_rounding():
    torch.manual_seed(0)
    features = torch.randn(1, 8, 16, 16)
    assert agree(features.bfloat16(), features)
    assert not agree(features.flip(-1), features)
    assert not agree(features.roll(1, dims=-1), features)
    assert not agree(features * torch.nan, features)


def test_random_numbers_go_on_as_if_nothing_had_been_tried():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    first, second = trial_network(), trial_network()
    assert torch.equal(torch.rand(3), expected)
    assert all(map(torch.equal, first.state_dict().values(), second.state_dict().values()))


def test_on_x86_nothing_is_tried(monkeypatch, tmp_path):
    monkeypatch.setattr(platform, "machine", lambda: "AMD64")
    monkeypatch.setattr(rewriting, "memory_file", lambda: pytest.fail("it was tried"))
    assert not for_inference(DinoUNet("tiny").eval(), CPU).wants_autocast


@pytest.mark.parametrize("known", [True, False])
def test_the_network_is_what_was_found_to_pay(unknown_processor, random_bundle, known):
    remember(unknown_processor, key_of(CPU, "rewritten network", torch.float32), known)
    network = for_inference(random_bundle().build_network(), CPU)
    assert network.wants_autocast is not known
    assert not network.training and not any(parameter.requires_grad for parameter in network.parameters())
