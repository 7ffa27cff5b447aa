"""The errors that a user reads: the core's UserError, so that one `except` catches both sides'."""

from DinoUNetCore.errors import UserError

__all__ = ["Cancelled", "UserError"]


class Cancelled(UserError):  # noqa: N818 - it is no error, but it travels like one
    """The user has cancelled; nothing of the scene was changed."""
