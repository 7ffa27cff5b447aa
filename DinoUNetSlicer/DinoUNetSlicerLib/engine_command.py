"""How the engine is started: by Slicer's own Python, another interpreter, or any command line that pipes."""

import os
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

import qt
import slicer

from DinoUNetSlicerLib import ROOT
from DinoUNetSlicerLib.errors import UserError

SLICER_PYTHON, OTHER_PYTHON, COMMAND_LINE = KINDS = ("slicer", "python", "command")

_KIND_KEY, _TEXT_KEY = "DinoUNetSlicer/EngineKind", "DinoUNetSlicer/EngineCommand"

# The folder of DinoUNetCore is an argument: PYTHONPATH belongs to the launcher, and this needs no quoting. It comes in
# the place of the current folder (""), whose files would stand before the standard library's.
_START = (
    "import sys; sys.path[:] = [sys.argv.pop(1), *filter(None, sys.path)]; "
    "import runpy; runpy.run_module('DinoUNetCore.worker', None, '__main__')"
)


@dataclass(frozen=True)
class EngineCommand:
    """program, arguments: of the process. in_slicer: whether it runs in Slicer's environment, or in the one that Slicer
    itself was started from (Slicer's PYTHONHOME and library paths would break a foreign interpreter, or ssh)."""

    program: str
    arguments: tuple[str, ...]
    in_slicer: bool

    @property
    def environment(self):
        """The qt.QProcessEnvironment to run in."""
        if self.in_slicer:
            environment = qt.QProcessEnvironment.systemEnvironment()
        else:
            environment = qt.QProcessEnvironment()
            for name, value in slicer.util.startupEnvironment().items():
                environment.insert(name, value)
        environment.insert("PYTHONUNBUFFERED", "1")
        environment.insert("PYTHONIOENCODING", "utf-8")
        return environment


def load_choice() -> tuple[str, str]:
    """(kind, text) as the user chose them on this machine; text: an interpreter or a command line."""
    settings = slicer.app.settings()
    kind = settings.value(_KIND_KEY) or SLICER_PYTHON
    return (kind if kind in KINDS else SLICER_PYTHON), str(settings.value(_TEXT_KEY) or "")


def save_choice(kind: str, text: str) -> None:
    """Keep the choice in the application's settings: it belongs to the machine, not to the scene."""
    settings = slicer.app.settings()
    settings.setValue(_KIND_KEY, kind)
    settings.setValue(_TEXT_KEY, text)


def make_command(kind: str, text: str = "") -> EngineCommand:
    """The command of a choice. UserError for one that cannot be started."""
    if kind == SLICER_PYTHON:
        return EngineCommand(_slicer_python(), ("-c", _START, str(ROOT)), True)
    if not text.strip():
        raise UserError("no engine is named; enter an interpreter or a command line under Advanced, Engine.")
    if kind == OTHER_PYTHON:
        program = _find(os.path.expanduser(text.strip()))
        if program is None:
            raise UserError(f"there is no interpreter {text.strip()}; correct it under Advanced, Engine.")
        return EngineCommand(program, ("-c", _START, str(ROOT)), False)
    try:
        program, *arguments = split_command(text)
    except ValueError as error:
        raise UserError(f"the engine's command line cannot be read ({error}); correct it under Advanced.") from error
    return EngineCommand(_find(program) or program, tuple(arguments), False)


def split_command(text: str, windows: bool = os.name == "nt") -> list[str]:
    """A command line to its words, quotes respected; on Windows backslashes are part of paths."""
    lexer = shlex.shlex(text, posix=True, punctuation_chars=False)
    lexer.whitespace_split = True
    lexer.commenters = ""
    if windows:
        lexer.escape = ""
    return list(lexer)


def _find(program: str) -> str | None:
    """On the path that Slicer was started with, as that is where it will run; Slicer's own has a Python of its own."""
    # Asked of Qt, which knows it on Windows as "Path" as well.
    return shutil.which(program, path=slicer.app.startupEnvironment().value("PATH"))


def _slicer_python() -> str:
    # sys.executable may be empty or the application itself.
    name = "PythonSlicer.exe" if os.name == "nt" else "PythonSlicer"
    beside = Path(slicer.app.slicerHome) / "bin" / name
    found = str(beside) if beside.is_file() else shutil.which("PythonSlicer")
    if found is None:
        raise UserError("Slicer's Python interpreter (PythonSlicer) was not found; name another one under Advanced.")
    return found
