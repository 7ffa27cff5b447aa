"""torch.compile, and what its failures say."""

import shutil

import pytest
import torch

from DinoUNetCore.training.compiling import check_compiler, compiled, reason_of

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch.compiler.reset()  # what was compiled for one test is not there for the next


@pytest.mark.skipif(not shutil.which("g++"), reason="there is no C++ compiler")
def test_what_inductor_makes_gives_the_same_numbers_and_gradients():
    torch.manual_seed(2)
    layers = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.GELU())
    images, results = torch.randn(2, 1, 64, 64), []
    for function in (layers, compiled(layers)):
        layers.zero_grad()
        outputs = function(images)
        outputs.square().mean().backward()
        results.append((outputs.detach(), [parameter.grad for parameter in layers.parameters()]))
    torch.testing.assert_close(results[1], results[0], rtol=1e-4, atol=1e-4)


def test_a_missing_compiler_shows_at_once():
    def broken(graph, example_inputs):
        raise RuntimeError("no C++ compiler was found.\nA second line.")

    with pytest.raises(Exception, match="no C") as caught:
        check_compiler(torch.device("cpu"), broken)
    assert reason_of(caught.value) == "no C++ compiler was found"
    check_compiler(torch.device("cpu"), "eager")


def test_reasons_are_short():
    assert reason_of(RuntimeError("\n first:\nsecond")) == "first"
    assert reason_of(ValueError()) == "ValueError"
    assert len(reason_of(RuntimeError("x" * 10_000))) <= 200
