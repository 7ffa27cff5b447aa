"""The question about the DINOv3 License: what it shows, and that an answer is kept."""

import logging

import pytest
import qt

from DinoUNetCore.weights import license
from DinoUNetSlicerLib import license_dialog


@pytest.fixture(autouse=True)
def not_accepted(scene, monkeypatch, tmp_path):
    """A user who has not accepted the license; their folder of models."""
    monkeypatch.setenv("DINOUNET_MODELS", str(tmp_path / "models"))
    monkeypatch.delenv(license.VARIABLE, raising=False)
    monkeypatch.setattr(license, "_accepted_here", False)
    return tmp_path / "models"


def test_it_links_to_the_license_and_does_not_accept_by_itself(scene):
    box = license_dialog._message_box()
    assert f'href="{license.URL}"' in box.text
    assert "The backbone stands under the DINOv3 License" in box.text  # not the computer, which was named last
    assert [box.button(kind).text for kind in (qt.QMessageBox.Ok, qt.QMessageBox.Cancel)] == ["Accept", "Cancel"]
    assert box.defaultButton() is box.button(qt.QMessageBox.Cancel)
    box.deleteLater()


def test_an_acceptance_is_kept_and_a_refusal_is_not(host, monkeypatch):
    assert not license_dialog.ask()
    assert not license.is_accepted()
    host.dialogs.answer("question", qt.QMessageBox.Ok)
    assert license_dialog.ask()
    monkeypatch.setattr(license, "_accepted_here", False)  # Slicer is started again
    assert license.is_accepted()


def test_an_acceptance_that_cannot_be_written_down_counts_until_slicer_is_closed(host, not_accepted, caplog):
    not_accepted.write_text("no folder", encoding="utf-8")
    host.dialogs.answer("question", qt.QMessageBox.Ok)
    with caplog.at_level(logging.WARNING):
        assert license_dialog.ask()
    assert license.is_accepted()
    assert str(not_accepted) in caplog.text
