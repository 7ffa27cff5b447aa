"""The DINOv3 License, shown once before weights that stand under it are first downloaded."""

import html
import logging

import qt
import slicer

from DinoUNetCore.weights import license
from DinoUNetSlicerLib.errors import UserError


def ask() -> bool:
    """Show where the license is and wait for the user; True, and remembered, if they accept it."""
    box = _message_box()
    accepted = box.exec_() == qt.QMessageBox.Ok
    box.deleteLater()
    if accepted:
        try:
            license.accept()
        except UserError as error:  # it counts until Slicer is closed
            logging.warning(str(error))
    return accepted


def _message_box():
    # Not Slicer's own question: that one answers itself where Slicer runs with --testing, and nobody has accepted then.
    url = html.escape(license.URL)
    box = qt.QMessageBox(slicer.util.mainWindow())
    box.setWindowTitle(license.NAME)
    box.setIcon(qt.QMessageBox.Question)
    box.setTextFormat(qt.Qt.RichText)
    box.setText(
        "<p>This model works with a DINOv3 backbone by Meta, which the engine's computer does not have and has to "
        f"download once. The backbone stands under the {license.NAME}. Please read it:</p>"
        f'<p><a href="{url}">{url}</a></p>'
        "<p>Do you accept this license?</p>"
    )
    box.setStandardButtons(qt.QMessageBox.Ok | qt.QMessageBox.Cancel)
    box.button(qt.QMessageBox.Ok).text = "Accept"
    box.setDefaultButton(qt.QMessageBox.Cancel)
    return box
