"""Fixtures for tests of inference."""

import pytest
import torch


@pytest.fixture
def one_thread():
    """Small networks are quicker so, and tests that run side by side do not fight for cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
