"""ctkPathLineEdit and ctkDirectoryButton: paths of files and folders."""

# ruff: noqa: N801, N802, N815  # the names are those of Slicer, CTK or Qt

from PySide6 import QtCore, QtWidgets

from Host.widgets.ctk_widgets import icon_of
from Host.widgets.observing import weakly
from Host.widgets.registry import stands_in
from Host.widgets.stored import stored


@stands_in
class ctkPathLineEdit(QtWidgets.QWidget):
    """An editable path with a history and a button that opens a file dialog.

    filters: `Dirs`, `Files`, `Writable` and more, as flags; without `Files` the dialog picks a folder, with `Writable`
    a file to write.
    """

    Dirs, Files, Drives, NoSymLinks, AllEntries = 0x1, 0x2, 0x4, 0x8, 0x7
    Readable, Writable, Executable, Hidden, NoFilter = 0x10, 0x20, 0x40, 0x100, -1

    currentPathChanged = QtCore.Signal(str)
    validInputChanged = QtCore.Signal(bool)

    label = stored("label", str, "")
    filters = stored("filters", int, AllEntries)
    options = stored("options", int, 0)
    settingKey = stored("settingKey", str, "")
    nameFilters = stored("nameFilters", "QStringList", [])
    sizeAdjustPolicy = stored("sizeAdjustPolicy", int, 1)
    minimumContentsLength = stored("minimumContentsLength", int, 0)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._host_path = ""
        self._host_combo = QtWidgets.QComboBox(self)
        self._host_combo.setEditable(True)
        self._host_combo.setSizePolicy(QtWidgets.QSizePolicy.Expanding, QtWidgets.QSizePolicy.Fixed)
        self._host_browse = QtWidgets.QToolButton(self)
        self._host_browse.setText("...")
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self._host_combo)
        layout.addWidget(self._host_browse)
        self._host_combo.connect("editTextChanged(QString)", weakly(self, "setCurrentPath"))
        self._host_browse.connect("clicked()", weakly(self, "browse"))

    def _host_current(self) -> str:
        return self._host_path

    def setCurrentPath(self, path: str) -> None:
        """Show another path."""
        if path == self._host_path:
            return
        self._host_path = path
        if self._host_combo.currentText != path:
            self._host_combo.setEditText(path)
        self.currentPathChanged.emit(path)

    currentPath = QtCore.Property(str, _host_current, setCurrentPath)

    showBrowseButton = QtCore.Property(
        bool,
        lambda self: not self._host_browse.isHidden(),
        lambda self, shown: self._host_browse.setVisible(shown),
    )
    showHistoryButton = stored("showHistoryButton", bool, True)

    def browse(self) -> None:
        """Ask for a path with a file dialog; nothing changes if it is cancelled."""
        dialog = QtWidgets.QFileDialog
        if not self.filters & self.Files:
            path = dialog.getExistingDirectory(self, self.label or "Select a directory", self._host_path)
        else:
            ask = dialog.getSaveFileName if self.filters & self.Writable else dialog.getOpenFileName
            path = ask(self, self.label or "Select a file", self._host_path, ";;".join(self.nameFilters))
        if path:
            self.setCurrentPath(path)

    def addCurrentPathToHistory(self) -> None:
        """Keep the path in the settings, first of at most ten."""
        settings = QtCore.QSettings()
        history = [path for path in self._host_history(settings) if path != self._host_path]
        settings.setValue(self._host_key(), [self._host_path, *history][:10])
        self.retrieveHistory()

    def retrieveHistory(self) -> None:
        """Fill the list with the paths that are kept in the settings."""
        blocked = self._host_combo.blockSignals(True)
        self._host_combo.clear()
        self._host_combo.addItems(self._host_history(QtCore.QSettings()))
        self._host_combo.setEditText(self._host_path)
        self._host_combo.blockSignals(blocked)

    def _host_key(self) -> str:
        return "ctkPathLineEdit/" + (self.settingKey or self.objectName)

    def _host_history(self, settings: QtCore.QSettings) -> list[str]:
        value = settings.value(self._host_key())
        return [value] if isinstance(value, str) else list(value or [])


@stands_in
class ctkDirectoryButton(QtWidgets.QWidget):
    """A button that shows a folder and opens a dialog for another one."""

    directoryChanged = QtCore.Signal(str)
    directorySelected = QtCore.Signal(str)
    caption = stored("caption", str, "")
    text = stored("text", str, "")
    settingKey = stored("settingKey", str, "")

    def __init__(self, parent=None):
        super().__init__(parent)
        self._host_directory = "."
        self._host_button = QtWidgets.QPushButton(self)
        self._host_button.setIcon(icon_of(self, QtWidgets.QStyle.SP_DirIcon))
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._host_button)
        self._host_button.connect("clicked()", weakly(self, "browse"))

    def _host_current(self) -> str:
        return self._host_directory

    def _host_set_directory(self, directory: str) -> None:
        if directory != self._host_directory:
            self._host_directory = directory
            self._host_button.setText(directory)
            self.directoryChanged.emit(directory)

    directory = QtCore.Property(str, _host_current, _host_set_directory)

    def browse(self) -> None:
        """Ask for a folder; nothing changes if that is cancelled."""
        chosen = QtWidgets.QFileDialog.getExistingDirectory(self, self.caption, self._host_directory)
        if chosen:
            self._host_set_directory(chosen)
            self.directorySelected.emit(chosen)
