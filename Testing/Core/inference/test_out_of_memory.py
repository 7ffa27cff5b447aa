"""Wherever memory runs out in a run, it ends with the right result or with one clear sentence."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from out_of_memory import CPU, CUDA, OutOfMemoryAt
from smooth_images import image_of, smooth, values

from DinoUNetCore.inference.cpu_in_reserve import CpuInReserve
from DinoUNetCore.inference.segmenter import Segmenter
from DinoUNetCore.memory import OutOfMemory, told_when_out_of_memory

pytestmark = pytest.mark.usefixtures("one_thread")

STEPS = 16


@pytest.fixture(scope="module")
def bundle(random_bundle):
    return random_bundle(patch_size=[32, 32], spacing=[0.8, 1.3], context_slices=3)


@pytest.fixture(scope="module")
def work(bundle):
    """A run in passes of four tiles, with a network that has not worked before: memory runs out in it."""
    image = image_of(smooth((4, 40, 36)))

    def run(runs_out):
        segmenter = Segmenter(bundle, "cpu", batch_size=4)
        with runs_out:
            return values(segmenter.segment(image))

    return run


@pytest.fixture(scope="module")
def expected(work):
    work(nullcontext())  # what is kept for all networks, once
    count = OutOfMemoryAt()
    return work(count), count.done


@pytest.mark.parametrize("error", [CUDA, CPU], ids=["CUDA", "CPU"])
def test_once_anywhere_gives_the_right_result_or_a_sentence(work, expected, error):
    labels, steps = expected
    recovered = 0
    for step in np.linspace(0, steps - 1, STEPS).astype(int).tolist():
        try:
            found = work(OutOfMemoryAt(step, error))
        except OutOfMemory as sentence:
            assert "more memory" in str(sentence) and "\n" not in str(sentence)
            continue
        assert (found == labels).mean() > 0.999
        recovered += 1
    assert recovered > STEPS / 2


def test_for_good_ends_with_a_sentence(work, expected):
    for step in np.linspace(0, expected[1] - 1, STEPS // 3).astype(int).tolist():
        with pytest.raises(OutOfMemory, match="more memory"):
            work(OutOfMemoryAt(step, for_good=True))


def test_a_network_that_does_not_fit_is_told_in_a_sentence(bundle):
    for step in (0, 40, 90):
        with pytest.raises(OutOfMemory, match="random needs more memory"), OutOfMemoryAt(step, CPU):
            Segmenter(bundle, "cpu")


def test_arrays_that_no_memory_holds_are_told_in_a_sentence():
    gpu, sentence = torch.device("cuda"), "the scan needs more memory than this computer has"
    with pytest.raises(OutOfMemory, match=sentence), told_when_out_of_memory("the scan", gpu):
        np.empty(1 << 60, np.uint8)
    with pytest.raises(OutOfMemory, match=sentence), told_when_out_of_memory("the scan"):
        torch.empty(1 << 60, dtype=torch.uint8)


def test_other_errors_stay_what_they_are():
    with pytest.raises(RuntimeError, match="shapes"), told_when_out_of_memory("the scan"):
        raise RuntimeError("shapes do not fit")


class Small:
    """What takes a segmenter's place on a device, to be too small."""

    def __init__(self, name):
        self.device = torch.device(name)


@pytest.mark.parametrize("when", ["built", "used"])
def test_the_cpu_takes_over_from_a_gpu_that_is_too_small_and_says_so(when):
    said, made = [], []

    def make(on_cpu):
        made.append(on_cpu)
        if when == "built" and not on_cpu:
            raise OutOfMemory("too small")
        return Small("cpu" if on_cpu else "cuda")

    def work(segmenter):
        if segmenter.device.type == "cuda":
            raise OutOfMemory("too small")
        return "labels"

    reserve = CpuInReserve(make, torch.device("cuda"), said.append)
    assert reserve.run(work) == reserve.run(work) == "labels"
    assert made == [False, True]
    assert len(said) == 1 and said[0].startswith("cuda has too little free memory")


@pytest.mark.parametrize(("device", "allowed"), [("cpu", True), ("cuda", False)])
def test_nobody_takes_over_from_the_cpu_or_a_device_that_was_named(device, allowed):
    def too_much(segmenter):
        raise OutOfMemory("the scan needs more memory")

    reserve = CpuInReserve(lambda on_cpu: Small(device), torch.device(device), print, allowed)
    with pytest.raises(OutOfMemory, match="the scan"):
        reserve.run(too_much)


def test_a_limit_for_a_gpu_is_said_to_have_no_effect_on_the_cpu(random_bundle):
    said = []
    Segmenter(random_bundle(), "cpu", max_memory=2.5, say=said.append)
    assert any("no effect on the CPU" in sentence for sentence in said)
