"""What all commands share: one clear sentence and exit code 2 for a user's mistake, 130 for Ctrl-C."""

import argparse
import os
import sys
from collections.abc import Callable
from typing import NoReturn, TypeVar

from DinoUNetCore.errors import Terminated, UserError

Result = TypeVar("Result")


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that words its errors as every command of the package does."""

    def __init__(self, **options):
        options.setdefault("formatter_class", argparse.ArgumentDefaultsHelpFormatter)
        super().__init__(**options)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message} (see {self.prog} --help)\n")


def add_license_option(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """--accept-dinov3-license, for commands that may download DINOv3 weights."""
    parser.add_argument(
        "--accept-dinov3-license",
        action="store_true",
        help="you have read and accept the DINOv3 License, under which DINOv3 weights are downloaded; remembered",
    )


def with_license(action: Callable[[], Result], accepted: bool) -> Result:
    """The result of `action`, which may download DINOv3 weights; their licence is asked for on a terminal if needed.

    accepted: whether --accept-dinov3-license was given.
    """
    from DinoUNetCore.weights import license

    if accepted:
        license.accept(remember=False)
        try:
            license.accept()
        except UserError as error:
            print(f"warning: your acceptance of the {license.NAME} is not remembered: {error}", file=sys.stderr)
    try:
        return action()
    except license.LicenseNotAccepted:
        license.ask_on_terminal()
        if not license.is_accepted():
            raise
        return action()


def run(command: Callable[[], None]) -> NoReturn:
    """Call `command` and end the process.

    Exit codes: 0 when it returns, 2 after a UserError, 130 after Ctrl-C, 143 when the system told it to end.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a name that Windows' code page lacks must not end a run
            stream.reconfigure(errors="backslashreplace")
    try:
        command()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is still to be flushed
        sys.exit(0)
    except OSError as error:  # a disk that fills up or a folder that may not be read, wherever it shows
        where = f"{error.filename}: " if error.filename else ""
        reason = error.strerror or error
        print(f"error: {where}{reason}; check the name, the permissions and the disk.", file=sys.stderr)
        sys.exit(2)
    except Terminated as stop:
        print(stop, file=sys.stderr)
        sys.exit(143)
    except KeyboardInterrupt:
        print("error: interrupted; what was finished before is kept.", file=sys.stderr)
        sys.exit(130)
    sys.exit(0)
