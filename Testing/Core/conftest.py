"""Fixtures shared by the tests of the core."""

from collections.abc import Callable

import pytest
from random_bundle import make_bundle

from DinoUNetCore.weights.bundle import ModelBundle


@pytest.fixture(scope="session")
def random_bundle() -> Callable[..., ModelBundle]:
    """Makes small bundles with random networks; see Testing/random_bundle.py."""
    return make_bundle
