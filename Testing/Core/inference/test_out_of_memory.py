"""Wherever memory runs out in a run, it ends with the right result or with one clear sentence."""

import os
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from out_of_memory import CPU, CUDA, OutOfMemoryAt
from smooth_images import image_of, smooth, values

from DinoUNetCore.errors import UserError
from DinoUNetCore.inference.cpu_in_reserve import CpuInReserve, precision_on_cpu
from DinoUNetCore.inference.segmenter import Segmenter
from DinoUNetCore.memory import OutOfMemory, fraction_of, told_when_out_of_memory

pytestmark = pytest.mark.usefixtures("one_thread")

STEPS = int(os.environ.get("OUT_OF_MEMORY_STEPS", "16"))
"""Of a run's few thousand allocations, at how many memory runs out; a number beyond them means at every single one."""


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


def some_of(steps, count):
    """Numbers of steps, evenly apart."""
    return np.linspace(0, steps - 1, min(count, steps)).astype(int).tolist()


@pytest.mark.parametrize("error", [CUDA, CPU], ids=["CUDA", "CPU"])
def test_once_anywhere_gives_the_right_result_or_a_sentence(work, expected, error):
    labels, steps = expected
    recovered = 0
    chosen = some_of(steps, STEPS)
    for step in chosen:
        try:
            found = work(OutOfMemoryAt(step, error))
        except OutOfMemory as sentence:
            assert "more memory" in str(sentence) and "\n" not in str(sentence)
            continue
        assert (found == labels).mean() > 0.999
        recovered += 1
    assert recovered > len(chosen) / 2


def test_for_good_ends_with_a_sentence(work, expected):
    for step in some_of(expected[1], STEPS // 3):
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


@pytest.mark.parametrize(
    ("error", "whose"),
    [
        (CUDA, "cuda"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), "cuda"),
        (RuntimeError("MPS backend out of memory (MPS allocated: 1.00 GB, max allowed: 1.00 GB)."), "cuda"),
        (CPU, "cpu"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate 1 bytes."), "cpu"),
        (RuntimeError("Exception thrown in SimpleITK ConnectedComponent: Failed to allocate memory for image."), "cpu"),
        (RuntimeError("std::bad_alloc"), "cpu"),
        (MemoryError(), "cpu"),
    ],
)
def test_it_is_told_whose_memory_ran_out(error, whose):
    for device in (torch.device("cuda"), None):
        with pytest.raises(OutOfMemory) as caught, told_when_out_of_memory("the scan", device):
            raise error
        assert caught.value.device == torch.device(whose if device else "cpu")
        assert ("this computer" in str(caught.value)) == (caught.value.device.type == "cpu")


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


@pytest.mark.parametrize("when", ["built", "used"])
def test_the_cpu_does_not_take_over_where_its_own_memory_ran_out(when):
    def make(on_cpu):
        assert not on_cpu
        if when == "built":
            raise OutOfMemory("the model needs more memory", torch.device("cpu"))
        return Small("cuda")

    def arrays(segmenter):
        with told_when_out_of_memory("the scan", segmenter.device):
            np.empty(1 << 60, np.uint8)

    with pytest.raises(OutOfMemory, match="needs more memory"):
        CpuInReserve(make, torch.device("cuda"), print).run(arrays)


def test_where_the_cpu_cannot_take_over_either_each_case_is_told_why():
    made = []

    def make(on_cpu):
        made.append(on_cpu)
        if on_cpu:
            raise OutOfMemory("the model needs more memory than this computer has", torch.device("cpu"))
        return Small("cuda")

    def too_much(segmenter):
        raise OutOfMemory("too small", segmenter.device)

    reserve = CpuInReserve(make, torch.device("cuda"), lambda sentence: None)
    for _ in range(3):
        with pytest.raises(OutOfMemory, match="the model needs") as caught:
            reserve.run(too_much)
    with pytest.raises(OutOfMemory, match="the model needs"):
        _ = reserve.segmenter
    assert made == [False, True] and caught.value.device == torch.device("cpu")


def test_a_model_for_which_no_device_has_room_is_told_at_once():
    def make(on_cpu):
        raise OutOfMemory("the CPU is too small" if on_cpu else "cuda is too small")

    with pytest.raises(UserError, match="the CPU is too small"):
        CpuInReserve(make, torch.device("cuda"), lambda sentence: None)


def test_the_cpu_keeps_the_precision_that_was_asked_for_where_it_has_it(bundle):
    for asked, expected in (("bfloat16", torch.bfloat16), ("float32", torch.float32), ("float16", torch.float32)):
        assert Segmenter(bundle, "cpu", precision=precision_on_cpu(asked)).precision == expected


@pytest.mark.parametrize(("device", "allowed"), [("cpu", True), ("cuda", False)])
def test_nobody_takes_over_from_the_cpu_or_a_device_that_was_named(device, allowed):
    def too_much(segmenter):
        raise OutOfMemory("the scan needs more memory")

    reserve = CpuInReserve(lambda on_cpu: Small(device), torch.device(device), print, allowed)
    with pytest.raises(OutOfMemory, match="the scan"):
        reserve.run(too_much)


def test_a_limit_is_a_part_of_a_gpu_s_memory_and_all_of_it_at_most():
    total = 24 * 10**9
    assert [fraction_of(total, gigabytes) for gigabytes in (6, 12.0, 24, 100)] == [0.25, 0.5, 1.0, 1.0]


def test_a_limit_for_a_gpu_is_said_to_have_no_effect_on_the_cpu(random_bundle):
    said = []
    Segmenter(random_bundle(), "cpu", max_memory=2.5, say=said.append)
    assert any("no effect on the CPU" in sentence for sentence in said)
