"""What all commands share: one clear sentence and exit code 2 for a user's mistake, 130 for Ctrl-C."""

import argparse
import sys
from collections.abc import Callable
from typing import NoReturn

from DinoUNetCore.errors import UserError


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that words its errors as every command of the package does."""

    def __init__(self, **options):
        options.setdefault("formatter_class", argparse.ArgumentDefaultsHelpFormatter)
        super().__init__(**options)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message} (see {self.prog} --help)\n")


def run(command: Callable[[], None]) -> NoReturn:
    """Call `command` and end the process: 0 when it returns, 2 after a UserError, 130 after Ctrl-C."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a name that Windows' code page lacks must not end a run
            stream.reconfigure(errors="backslashreplace")
    try:
        command()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:  # a disk that fills up or a folder that may not be read, wherever it shows
        where = f"{error.filename}: " if error.filename else ""
        reason = error.strerror or error
        print(f"error: {where}{reason}; check the name, the permissions and the disk.", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("error: interrupted; what was finished before is kept.", file=sys.stderr)
        sys.exit(130)
    sys.exit(0)
