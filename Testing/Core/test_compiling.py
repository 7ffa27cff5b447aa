"""torch.compile with a way back, on the network that segments."""

import shutil
from functools import partial

import pytest
import torch

from DinoUNetCore.compiling import Compiled, is_the_compilers, reason_of
from DinoUNetCore.errors import UserError
from DinoUNetCore.inference.passes import Passes
from DinoUNetCore.inference.provenance import chosen_options
from DinoUNetCore.inference.segmenter import Segmenter, _features_of
from DinoUNetCore.network.optimized import optimize

CPU = torch.device("cpu")

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch.compiler.reset()  # what was compiled for one test is not there for the next


def images(count: int) -> torch.Tensor:
    return torch.randn(count, 1, 64, 64, generator=torch.Generator().manual_seed(1))


def broken(graph, example_inputs):
    raise RuntimeError("no C++ compiler was found.\nA second line.")


def test_a_compiled_network_gives_the_same_features(random_bundle):
    """Captured as for inductor, with the operations as they are: quick to make."""
    said = []
    plain = partial(_features_of, optimize(random_bundle().build_network().eval()), torch.float32, CPU)
    compiled = Compiled(plain, said.append, backend="aot_eager")
    with torch.inference_mode():
        torch.testing.assert_close(compiled(images(2)), plain(images(2)), rtol=0, atol=1e-4)
    assert compiled.works and said == []


@pytest.mark.skipif(not shutil.which("g++"), reason="there is no C++ compiler")
def test_what_inductor_makes_gives_the_same_numbers_and_gradients():
    torch.manual_seed(2)
    layers = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.GELU())
    said, results = [], []
    for function in (layers, Compiled(layers, said.append)):
        layers.zero_grad()
        outputs = function(images(2))
        outputs.square().mean().backward()
        results.append((outputs.detach(), [parameter.grad for parameter in layers.parameters()]))
    assert said == []
    torch.testing.assert_close(results[1], results[0], rtol=1e-4, atol=1e-4)


def test_a_compiler_that_fails_is_told_once_and_not_asked_again():
    said, asked = [], []

    def failing(graph, example_inputs):
        asked.append(1)
        broken(graph, example_inputs)

    def double(tensor):
        return 2 * tensor

    compiled = Compiled(double, said.append, failing)
    for count in (2, 2, 3):
        assert torch.equal(compiled(images(count)), 2 * images(count))
    assert said == ["torch.compile failed (no C++ compiler was found), so the network runs without it."]
    assert len(asked) == 1 and not compiled.works


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory."), MemoryError(), UserError("crop it.")], ids=type
)
def test_memory_and_users_mistakes_pass(error):
    def failing(graph, example_inputs):
        def run(*inputs):
            raise error

        return run

    said = []
    compiled = Compiled(lambda tensor: 2 * tensor, said.append, failing)
    with pytest.raises(type(error)):
        compiled(images(1))
    assert compiled.works and said == [] and not is_the_compilers(error)


def test_the_functions_own_mistakes_come_again_without_the_compiler():
    compiled = Compiled(lambda tensor: tensor @ tensor[:, :, :3], [].append, "eager")
    with pytest.raises(RuntimeError, match=r"(?i)shape|size"):
        compiled(images(1))


def test_reasons_are_short():
    assert reason_of(RuntimeError("\n first:\nsecond")) == "first"
    assert reason_of(ValueError()) == "ValueError"
    assert len(reason_of(RuntimeError("x" * 10_000))) <= 200


def test_memory_that_runs_out_halves_the_batch_of_a_compiled_network():
    """Each size of a batch is compiled."""
    sizes = []

    def backend(graph, example_inputs):
        def run(*inputs):
            count = next((len(one) for one in inputs if one.ndim == 4), 0)
            sizes.append(count)
            if count > 2:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return graph.forward(*inputs)

        return run

    class Slices:
        size = (64, 64)

        def __len__(self):
            return 8

        def read(self, start, stop):
            return images(8)[start:stop]

    said, found = [], {}
    compiled = Compiled(lambda tensor: 2 * tensor, said.append, backend)
    passes = Passes(compiled, (64, 64), [], CPU, 8)
    window = (slice(0, 64), slice(0, 64))
    with torch.inference_mode():
        list(passes.run(Slices(), slice(0, 8), window, lambda f, n: found.update({n: f}), "x"))
    assert sizes == [0, 8, 4, 2, 2, 2, 2]  # something tiny first
    assert said == [] and compiled.works
    torch.testing.assert_close(torch.stack([found[n] for n in range(8)]), 2 * images(8))


def test_a_segmenter_says_in_its_provenance_whether_it_ran_compiled(random_bundle):
    said = []
    segmenter = Segmenter(random_bundle(), "cpu", compile=True, say=said.append)
    assert "compile" not in chosen_options(segmenter)
    assert said == ["torch.compile makes nothing faster on a CPU, so the network runs without it."]
    segmenter.compiled = Compiled(segmenter.network.features, said.append)  # as on a GPU
    assert "compile" in chosen_options(segmenter)
    segmenter.compiled.works = False
    assert "compile" not in chosen_options(segmenter)
