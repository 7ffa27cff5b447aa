"""Networks are rewritten where that computes rightly and faster, which is found out once."""

import platform
import time

import numpy as np
import pytest
import torch
from smooth_images import image_of, oblique, smooth, values

from DinoUNetCore.inference import rewriting
from DinoUNetCore.inference.rewriting import agree, for_inference, pays, trial_network
from DinoUNetCore.inference.segmenter import Segmenter
from DinoUNetCore.measurements import key_of, recalled, remember
from DinoUNetCore.network.dino_unet import DinoUNet
from DinoUNetCore.network.ensemble import Ensemble

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def small_trial(monkeypatch):
    monkeypatch.setattr(rewriting, "ROUNDS", 1)
    monkeypatch.setattr(rewriting, "SIDE", 96)


@pytest.fixture
def memory(monkeypatch, tmp_path):
    """A computer whose CPU is of another kind; gives the file in which it remembers."""
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    monkeypatch.setattr(rewriting, "memory_file", lambda: tmp_path / "measurements.json")
    return tmp_path / "measurements.json"


def key(dtype=torch.float32):
    return key_of(CPU, "riscv64", f"rewriting {rewriting.VERSION}", dtype)


def ways(monkeypatch, *, ours=None, theirs=None):
    """Let the rewritten network, or the plain one, fail with an error, or do something to its features."""

    def changed(network, change):
        def features(images):
            if isinstance(change, Exception):
                raise change
            return change(DinoUNet.features(network, images))

        if change is not None:
            network.features = features
        return network

    optimize, trial_network = rewriting.optimize, rewriting.trial_network
    monkeypatch.setattr(rewriting, "optimize", lambda network, dtype: changed(optimize(network, dtype), ours))
    monkeypatch.setattr(rewriting, "deepcopy", lambda network: trial_network())
    monkeypatch.setattr(rewriting, "trial_network", lambda: Later(trial_network(), lambda n: changed(n, theirs)))


class Later:
    """A network that computes as it should until it is brought to its device."""

    def __init__(self, network, change):
        self.features, self.to = network.features, lambda device: change(network)


def flipped(features):
    return features.flip(-1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_both_ways_compute_the_same_and_what_is_found_is_remembered(memory, dtype):
    said = []
    found = pays(CPU, dtype, said.append, memory)
    assert recalled(memory, key(dtype)) is found
    assert not said
    for known in (True, False):
        remember(memory, key(dtype), known)
        assert pays(CPU, dtype, said.append, memory) is known


@pytest.mark.parametrize("wrong", [flipped, NotImplementedError("no such kernel")], ids=["wrong", "missing"])
@pytest.mark.parametrize("which", ["ours", "theirs"])
def test_a_way_that_computes_wrongly_or_not_at_all_is_not_taken(monkeypatch, memory, wrong, which):
    ways(monkeypatch, **{which: wrong})
    said = []
    assert pays(CPU, torch.float32, said.append, memory) is (which == "theirs")
    assert recalled(memory, key()) is (which == "theirs")
    assert not said


@pytest.mark.parametrize("which", ["ours", "theirs"])
def test_a_way_that_takes_far_longer_is_not_taken(monkeypatch, memory, which):
    def late(features):
        time.sleep(2)
        return features

    ways(monkeypatch, **{which: late})
    assert pays(CPU, torch.float32, [].append, memory) is (which == "theirs")


@pytest.mark.parametrize("which", ["ours", "theirs"])
def test_what_fails_for_a_reason_that_may_pass_is_tried_again(monkeypatch, memory, which):
    ways(monkeypatch, **{which: RuntimeError("the device is busy")})
    assert pays(CPU, torch.float32, [].append, memory) is (which == "theirs")
    assert not memory.exists()


@pytest.mark.parametrize(
    ("ours", "theirs", "taken"),
    [(flipped, flipped, True), (RuntimeError("broken"), flipped, False), (flipped, RuntimeError("broken"), True)],
    ids=["both wrong", "ours fails", "theirs fails"],
)
def test_a_device_on_which_no_way_is_right_is_told_of_every_time(monkeypatch, memory, ours, theirs, taken):
    ways(monkeypatch, ours=ours, theirs=theirs)
    said = []
    for count in (1, 2):
        assert pays(CPU, torch.float32, said.append, memory) is taken
        assert len(said) == count and "choose the device cpu" in said[-1]


def test_without_memory_for_the_trial_the_usual_way_is_taken_and_nothing_remembered(monkeypatch, memory):
    ways(monkeypatch, ours=torch.OutOfMemoryError("out of memory"))
    assert pays(CPU, torch.float32, [].append, memory)
    assert not memory.exists()


def test_features_agree_but_for_rounding():
    torch.manual_seed(0)
    features = torch.randn(1, 8, 16, 16)
    assert agree(features.bfloat16(), features)
    assert not agree(features.flip(-1), features)
    assert not agree(features.roll(1, dims=-1), features)
    assert not agree(features * torch.nan, features)


def test_random_numbers_go_on_as_if_nothing_had_been_tried(monkeypatch):
    monkeypatch.setattr(torch.cuda, "manual_seed_all", pytest.fail)
    monkeypatch.setattr(torch.mps, "manual_seed", pytest.fail)
    torch.default_generator.manual_seed(1)
    expected = torch.rand(3)
    torch.default_generator.manual_seed(1)
    first, second = trial_network(), trial_network()
    assert torch.equal(torch.rand(3), expected)
    assert all(map(torch.equal, first.state_dict().values(), second.state_dict().values()))


def test_no_weight_of_the_trial_is_without_effect():
    network = trial_network()
    assert [name for name, parameter in network.named_parameters() if not parameter.any()] == []


def test_on_x86_nothing_is_tried(monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "AMD64")
    monkeypatch.setattr(rewriting, "memory_file", lambda: pytest.fail("it was tried"))
    assert not for_inference(DinoUNet("tiny").eval(), CPU).wants_autocast


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("members", [1, 2])
def test_the_network_is_what_was_found_to_pay(memory, random_bundle, known, members):
    remember(memory, key(), known)
    networks = [random_bundle().build_network() for _ in range(members)]
    network = for_inference(networks[0] if members == 1 else Ensemble(networks, shares_backbone=False), CPU)
    assert network.wants_autocast is not known
    assert not network.training and not any(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_volume_is_labelled_alike_both_ways(memory, random_bundle, precision):
    array = smooth((3, 50, 60), dtype=np.float32)
    image = image_of(array, (0.8, 1.3, 3.5), (3.0, -20.0, 7.5), oblique().ravel().tolist())
    bundle, found = random_bundle(), {}
    for known in (True, False):
        remember(memory, key(getattr(torch, precision)), known)
        segmenter = Segmenter(bundle, "cpu", precision=precision)
        assert segmenter.network.wants_autocast is not known
        found[known] = values(segmenter.segment(image))
    assert (found[True] == found[False]).mean() > (0.9999 if precision == "float32" else 0.97)
    assert len(np.unique(found[True])) > 1
