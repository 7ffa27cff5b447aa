"""The errors that a user reads: the core's UserError, so that one `except` catches both sides'."""

from typing import Any

from DinoUNetCore.errors import UserError
from DinoUNetCore.weights.license import LicenseNotAccepted

__all__ = ["Cancelled", "LicenseNotAccepted", "UserError", "error_of"]


class Cancelled(UserError):  # noqa: N818 - it is no error, but it travels like one
    """The user has cancelled; nothing of the scene was changed."""


def error_of(event: dict[str, Any]) -> UserError:
    """What an `error` event of the engine says, as an exception."""
    kinds = {"license": LicenseNotAccepted, "cancelled": Cancelled}
    return kinds.get(event.get("code"), UserError)(str(event.get("message")))
