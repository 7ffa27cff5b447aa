"""The DINOv3 License: accepted once by the user, before DINOv3 weights are first downloaded.

Needs nothing but the standard library, so that 3D Slicer uses it without torch.
"""

import json
import os
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import TextIO

from DinoUNetCore.errors import UserError
from DinoUNetCore.files import write_json
from DinoUNetCore.weights.models_folder import models_folder

VARIABLE = "DINOUNET_ACCEPT_DINOV3_LICENSE"
"""Environment variable: 1 states that the user accepts the license."""
NAME = "DINOv3 License"
URL = "https://ai.meta.com/resources/models-and-libraries/dinov3-license/"

_RECORD = ".dinov3-license.json"

_accepted_here = False  # in this process, without being remembered


class LicenseNotAccepted(UserError):  # noqa: N818  a UserError that callers tell from others
    """DINOv3 weights would have to be downloaded, and the user has not accepted their license yet."""


def is_accepted() -> bool:
    """By the environment variable, in this process, or once before (a file beside the user's models)."""
    return _accepted_here or os.environ.get(VARIABLE) == "1" or _is_remembered()


def accept(remember: bool = True) -> None:
    """Note that the user accepts the license: for this process, and if `remember` for all later ones.

    UserError if it cannot be written down; it counts for this process then.
    """
    global _accepted_here
    _accepted_here = True
    if remember and not _is_remembered():
        accepted = datetime.now(timezone.utc).isoformat(timespec="seconds")
        write_json(_record(), {"license": NAME, "url": URL, "accepted": accepted})


def require(what: str) -> None:
    """LicenseNotAccepted unless the license is accepted; `what` begins the sentence ("the backbone ...")."""
    if not is_accepted():
        raise LicenseNotAccepted(
            f"{what} stands under the {NAME}: read {URL} and accept it by `python -m DinoUNetCore.models license "
            f"--accept`, by the option --accept-dinov3-license or by the environment variable {VARIABLE}=1, or name a "
            "file that you have by --backbone FILE."
        )


def ask(stream_in: TextIO, stream_out: TextIO) -> bool:
    """Ask the user whether they accept the license. Only "y" and "yes" are a yes; nothing is noted."""
    stream_out.write(
        f"The weights of the DINOv3 backbones stand under Meta's {NAME}. Please read it:\n\n    {URL}\n\n"
        "It is asked for once. Do you accept it? [y/N] "
    )
    stream_out.flush()
    return stream_in.readline().strip().lower() in ("y", "yes")


def ask_on_terminal() -> None:
    """If someone sits before the terminal who has not accepted yet: ask, and remember a yes. Else nothing happens."""
    attended = sys.stdin is not None and sys.stdin.isatty() and sys.stderr is not None and sys.stderr.isatty()
    if attended and not is_accepted() and ask(sys.stdin, sys.stderr):
        accept()


def _record() -> Path:
    return models_folder() / _RECORD


def _is_remembered() -> bool:
    try:
        return json.loads(_record().read_text(encoding="utf-8"))["license"] == NAME
    except (UserError, OSError, ValueError, KeyError, TypeError):
        return False  # a missing or damaged record is no consent
