"""Fixtures shared by the tests of weights."""

from pathlib import Path

import pytest

from DinoUNetCore.weights import library


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """The library's folder, which does not exist yet; nothing is to be had from elsewhere."""
    monkeypatch.setenv(library.VARIABLE, str(tmp_path / "library"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "no hub"))
    for name in ("DINOUNET_ACCEPT_DINOV3_LICENSE", "DINOUNET_BACKBONE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "library"
