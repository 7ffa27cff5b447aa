"""Dialogs are recorded and answered, and never wait."""

import qt
import slicer


def test_slicers_message_boxes_are_recorded_with_their_kind(host, scene):
    slicer.util.errorDisplay("It failed.", detailedText="because")
    slicer.util.warningDisplay("Careful.")
    slicer.util.infoDisplay("Done.")
    slicer.util.messageBox("Plain.")
    assert [dialog.kind for dialog in host.dialogs.shown] == ["critical", "warning", "information", "message"]
    assert host.dialogs.texts("critical") == ["It failed."]
    assert host.dialogs.shown[0].details == "because"


def test_a_question_is_declined_unless_an_answer_is_planned(host, scene):
    assert not slicer.util.confirmYesNoDisplay("Really?")
    host.dialogs.answer("question", qt.QMessageBox.Yes, qt.QMessageBox.No)
    assert slicer.util.confirmYesNoDisplay("Really?")
    assert not slicer.util.confirmYesNoDisplay("Really?")
    assert not slicer.util.confirmOkCancelDisplay("Really?")


def test_a_static_question_gives_a_button(host, scene):
    buttons = qt.QMessageBox.Yes | qt.QMessageBox.No
    assert qt.QMessageBox.question(None, "Title", "Really?", buttons) == qt.QMessageBox.No
    assert host.dialogs.shown[0].title == "Title"


def test_file_dialogs_give_the_planned_path_alone(host, scene):
    host.dialogs.answer("getOpenFileName", "/data/image.nrrd")
    assert qt.QFileDialog.getOpenFileName(None, "Open", "", "*.nrrd") == "/data/image.nrrd"
    assert qt.QFileDialog.getExistingDirectory(None, "Folder", "") == ""
    assert qt.QInputDialog.getText(None, "Name", "New name:") == ""


def test_an_answer_may_look_at_the_dialog(host, scene):
    host.dialogs.answer("getText", lambda dialog: dialog.text.upper())
    assert qt.QInputDialog.getText(None, "Name", "new") == "NEW"


def test_an_error_inside_try_with_error_display_is_shown_and_raised(host, scene):
    try:
        with slicer.util.tryWithErrorDisplay("Failed.", waitCursor=True):
            raise ValueError("planted")
    except ValueError:
        pass
    assert host.dialogs.texts("critical") == ["Failed.\n\nplanted"]
    assert host.leftovers() == []


def test_a_menu_runs_the_chosen_action(host, scene):
    menu, done = qt.QMenu(), []
    menu.addAction("One")
    action = menu.addAction("Two")
    action.connect("triggered()", lambda: done.append("two"))
    host.dialogs.answer("QMenu", "Two")
    assert menu.exec_() is action
    assert done == ["two"]


def test_no_page_is_opened(host, scene):
    qt.QDesktopServices.openUrl(qt.QUrl("https://example.org/licence"))
    assert host.dialogs.texts("openUrl") == ["https://example.org/licence"]


def test_an_answer_that_nothing_wanted_is_a_leftover(host, scene):
    host.dialogs.answer("question", qt.QMessageBox.Yes)
    assert "question" in host.leftovers()[0]
    host.dialogs.clear()
