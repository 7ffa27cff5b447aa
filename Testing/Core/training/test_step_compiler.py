"""Compiled steps: the numbers of plain ones, and plain ones where compiling fails or does not pay."""

import time

import pytest
import torch
from joined_processes import in_processes
from torch import nn

from DinoUNetCore.errors import UserError
from DinoUNetCore.measurements import key_of, recalled
from DinoUNetCore.training.batch_norm import share_batch_norms
from DinoUNetCore.training.losses import make_loss
from DinoUNetCore.training.processes import ALONE, Processes
from DinoUNetCore.training.step import Step
from DinoUNetCore.training.step_compiler import StepCompiler
from DinoUNetCore.volume.label_scheme import LabelScheme

CPU = torch.device("cpu")


class CountingBackend:
    """A compiler that leaves the operations as they are, and counts what it compiles and what then runs."""

    def __init__(self):
        self.compiled = self.ran = 0

    def __call__(self, graph, example_inputs):
        self.compiled += 1

        def run(*inputs):
            self.ran += 1
            return graph.forward(*inputs)

        return run


def broken(graph, example_inputs):
    raise RuntimeError("no C++ compiler was found.\nA second line.")


def broken_for_networks(graph, example_inputs):
    if any(one.ndim == 4 for one in example_inputs if isinstance(one, torch.Tensor)):
        raise RuntimeError("an operator is not known")
    return graph.forward


def breaks_when_it_runs(graph, example_inputs):
    def run(*inputs):
        if any(one.ndim == 4 for one in inputs):
            raise RuntimeError("the kernel cannot be launched")
        return graph.forward(*inputs)

    return run


def network() -> nn.Module:
    """With what a training has: a BatchNorm, and something random."""
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.2), nn.Conv2d(4, 2, 1)
    ).train()


def batch(count: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    images = torch.randn(count, 1, 16, 16, generator=torch.Generator().manual_seed(2))
    return images, (images[:, 0] > 0.5).long()


class Training:
    """A step on a network, and what is said and noted."""

    def __init__(self, backend=None, choice="yes", layers=None, processes: Processes = ALONE, **options):
        self.network, self.said, self.notes = layers or network(), [], []
        share_batch_norms(self.network, processes)
        compiler = backend and StepCompiler(
            choice, self.network, CPU, self.said.append, self.notes.append, processes, backend=backend, **options
        )
        self.step = Step(
            self.network,
            self.network,
            make_loss(LabelScheme({"background": 0, "bright": 1}), processes.total),
            torch.optim.SGD(self.network.parameters(), 0.1),
            torch.amp.GradScaler("cpu", enabled=False),
            1.0,
            self.said.append,
            processes=processes,
            compiler=compiler,
        )

    def run(self, steps: int = 3, count: int = 4) -> list[float]:
        torch.manual_seed(3)
        return [self.step(*batch(count)) for _ in range(steps)]

    def gradients(self) -> dict[str, torch.Tensor]:
        return {name: parameter.grad for name, parameter in self.network.named_parameters()}


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch.compiler.reset()  # what was compiled for one test is not there for the next


@pytest.fixture
def plain():
    training = Training()
    return training.run(), training


def test_compiled_steps_give_the_loss_the_gradients_and_the_names_of_plain_ones(plain):
    losses, before = plain
    backend = CountingBackend()
    training = Training(backend)
    assert training.run() == pytest.approx(losses, abs=1e-6)
    torch.testing.assert_close(training.gradients(), before.gradients(), rtol=0, atol=1e-4)
    torch.testing.assert_close(training.network.state_dict(), before.network.state_dict())  # names, and running means
    assert (backend.compiled, backend.ran) == (2, 5)  # something tiny; a try and three steps
    assert training.said == ["Training steps are compiled (torch.compile)."]
    assert training.notes == [{"asked": "yes", "running": True, "reason": None}]


@pytest.mark.parametrize(
    ("backend", "reason"),
    [
        (broken, "no C++ compiler was found"),
        (broken_for_networks, "an operator is not known"),
        (breaks_when_it_runs, "the kernel cannot be launched"),
    ],
)
def test_a_compiler_that_fails_leaves_the_numbers_of_plain_steps(backend, reason, plain):
    losses, before = plain
    training = Training(backend)
    assert training.run() == losses  # to the bit: random numbers and running means are as if nothing had been
    torch.testing.assert_close(training.network.state_dict(), before.network.state_dict(), rtol=0, atol=0)
    assert len(training.said) == 1 and "Training goes on without torch.compile" in training.said[0]
    assert reason in training.said[0] and "second line" not in training.said[0]
    assert training.notes[0]["running"] is False and reason in training.notes[0]["reason"]


class RoomForTwo(CountingBackend):
    """What it compiles takes two images at most."""

    def __call__(self, graph, example_inputs):
        run = super().__call__(graph, example_inputs)

        def run_if_it_fits(*inputs):
            if any(one.shape[1:] == (1, 16, 16) and len(one) > 2 for one in inputs):
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return run(*inputs)

        return run_if_it_fits


def test_compiled_steps_that_need_more_memory_than_plain_ones_are_not_used(plain):
    training = Training(RoomForTwo())
    assert training.run() == plain[0]
    assert training.step.parts == 1
    assert training.said == ["Training goes on without torch.compile: CUDA out of memory."]


def test_a_users_mistake_passes():
    class Refusing(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = network()

        @torch.compiler.disable
        def forward(self, images):
            raise UserError("this image is no image; give another.")

    training = Training(CountingBackend(), layers=Refusing())
    with pytest.raises(UserError, match="no image"):
        training.run()
    assert training.said == []


def test_other_shapes_are_computed_as_they_are_without_compiling():
    backend = CountingBackend()
    training = Training(backend)
    training.run(count=4)
    compiled = backend.compiled, backend.ran
    assert all(training.run(count=count)[0] for count in (3, 2, 5))
    assert (backend.compiled, backend.ran) == compiled
    training.run(count=4)
    assert (backend.compiled, backend.ran) == (compiled[0], compiled[1] + 3)


def test_blocks_that_come_and_go_are_not_compiled():
    layers = network()
    layers[0].register_forward_pre_hook(lambda *_: None)
    backend = CountingBackend()
    training = Training(backend, layers=layers)
    training.run()
    assert backend.compiled == 0 and "come and go" in training.said[0]


def test_auto_leaves_a_cpu_alone(tmp_path):
    backend = CountingBackend()
    training = Training(backend, "auto", memory=tmp_path / "measurements.json")
    training.run()
    assert backend.compiled == 0 and not (tmp_path / "measurements.json").exists()
    assert training.notes[0]["running"] is False and "cpu" in training.notes[0]["reason"]


class SlowUnlessCompiled(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = network()

    def forward(self, images):
        if not torch.compiler.is_compiling():
            time.sleep(0.03)
        return self.layers(images)


class SlowBackend(CountingBackend):
    def __call__(self, graph, example_inputs):
        run = super().__call__(graph, example_inputs)

        def slowly(*inputs):
            time.sleep(0.03)
            return run(*inputs)

        return slowly


@pytest.mark.parametrize(
    ("layers", "backend", "pays"), [(SlowUnlessCompiled, CountingBackend, True), (network, SlowBackend, False)]
)
def test_auto_measures_once_and_keeps_what_is_faster(layers, backend, pays, tmp_path):
    options = {"facts": ["tiny", 4], "memory": tmp_path / "measurements.json", "pays_on": ["cpu"]}
    first = Training(backend(), "auto", layers(), **options)
    first.run()
    assert first.notes[0]["running"] is pays
    assert recalled(options["memory"], key_of(CPU, "tiny", 4)) is pays
    torch.compiler.reset()
    again = backend()
    second = Training(again, "auto", layers(), **options)
    second.run()
    assert second.notes[0]["running"] is pays
    assert again.ran == (5 if pays else 0)  # nothing is measured


def alike(processes, failing):
    """What each of two processes says and learns where the compiler fails in one of them."""
    backend = broken_for_networks if processes.rank == failing else CountingBackend()
    training = Training(backend, processes=processes)
    training.network[3].p = 0.0
    images, classes = (tensor.tensor_split(2)[processes.rank] for tensor in batch())
    losses = [training.step(images, classes) for _ in range(3)]
    return losses, training.said, training.notes, {k: v.tolist() for k, v in training.network.state_dict().items()}


@pytest.mark.parametrize("failing", [None, 1])
def test_two_processes_compile_together_or_not_at_all(failing):
    whole = Training()
    whole.network[3].p = 0.0
    losses = whole.run()
    (ours, said, notes, state), (theirs, _, _, other_state) = in_processes(2, alike, failing)
    assert ours == pytest.approx(losses, abs=1e-5) and theirs == pytest.approx(losses, abs=1e-5)
    assert state == other_state
    assert notes[0]["running"] is (failing is None)
    assert len(said) == 1 and ("an operator is not known" in said[0]) is (failing is not None)
