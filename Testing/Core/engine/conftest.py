"""Engines for tests: one that many share and leave in order, and new ones for those that break them."""

from collections.abc import Callable, Iterator

import pytest
import SimpleITK as sitk
from engine_client import EngineProcess, describe

from DinoUNetCore.dataset.phantom import make_phantom


@pytest.fixture
def start_engine(tmp_path) -> Iterator[Callable[..., EngineProcess]]:
    """Starts engines whose library is a folder of this test; they are gone when it ends."""
    started = []

    def start(**options) -> EngineProcess:
        environment = {"DINOUNET_MODELS": str(tmp_path / "models"), **options.pop("environment", {})}
        started.append(EngineProcess(environment=environment, **options))
        return started[-1]

    yield start
    for engine in started:
        engine.end()


@pytest.fixture(scope="session")
def shared_engine(tmp_path_factory, phantom) -> Iterator[EngineProcess]:
    engine = EngineProcess(environment={"DINOUNET_MODELS": str(tmp_path_factory.mktemp("models"))})
    assert engine.segment([describe(phantom)], {"name": "phantom-tiny"}).result  # torch and the model are loaded
    yield engine
    engine.end()


@pytest.fixture
def engine(shared_engine) -> Iterator[EngineProcess]:
    """A warm engine with an empty library, in order before and after each test."""
    yield shared_engine
    assert shared_engine.ask("cancel", target=0).result
    assert shared_engine.process.poll() is None, shared_engine.log


@pytest.fixture(scope="session")
def phantom() -> sitk.Image:
    """A small CT that the embedded model knows: 6 slices of 48 x 40."""
    return make_phantom(3, size=(48, 40, 6))[0]


@pytest.fixture(scope="session")
def long_phantom() -> sitk.Image:
    """A CT that takes half a minute on a CPU: many small slices."""
    image = make_phantom(3, size=(32, 32, 4))[0]
    return sitk.Tile([image] * 500, (1, 1, 500))
