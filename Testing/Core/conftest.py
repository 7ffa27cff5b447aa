"""Fixtures shared by the tests of the core."""

from collections.abc import Callable, Iterator

import pytest
import torch
from random_bundle import make_bundle

from DinoUNetCore.weights.bundle import ModelBundle


@pytest.fixture(scope="session")
def random_bundle() -> Callable[..., ModelBundle]:
    """Makes small bundles with random networks; see Testing/random_bundle.py."""
    return make_bundle


@pytest.fixture(scope="session", autouse=True)
def own_cache_folder(tmp_path_factory) -> Iterator[None]:
    """What tests find out about this computer is not the user's."""
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
            patch.setenv(variable, str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Small networks gain nothing from more threads, which wait for each other where other programs run."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
