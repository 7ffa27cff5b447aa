"""Pictures of panels."""

import ctk
import numpy as np
import pytest
import qt
import slicer


@pytest.fixture
def panel(scene):
    panel = slicer.qMRMLWidget()
    button = ctk.ctkCollapsibleButton("Inputs")
    qt.QVBoxLayout(panel).addWidget(button)
    qt.QVBoxLayout(button).addWidget(ctk.ctkSliderWidget())
    return panel


def test_a_panel_is_as_wide_as_asked_and_as_high_as_it_needs(host, panel, tmp_path):
    host.save_picture(panel, tmp_path / "panel.png", width=320)
    picture = qt.QImage(str(tmp_path / "panel.png"))
    assert picture.width() == 320
    assert 50 < picture.height() < 200


def test_a_panel_stands_beside_the_views(host, panel, tmp_path):
    slicer.util.setSliceViewerLayers(background=slicer.util.addVolumeFromArray(np.zeros((9, 9, 9), np.int16)))
    host.save_window(panel, tmp_path / "window.png", size=(700, 300), width=300)
    picture = qt.QImage(str(tmp_path / "window.png"))
    assert (picture.width(), picture.height()) == (700, 300)
    assert qt.QColor(picture.pixel(301, 75)).red() > 200  # the frame of the view Red
