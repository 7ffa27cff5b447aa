"""The one kind of error that is shown to a user as it stands."""


class UserError(Exception):
    """Something the user can mend. Its text is one sentence: what is wrong, with which file, and what to do."""


class Terminated(Exception):  # noqa: N818 - not a fault
    """The system told the process to end, and it has saved where it stands. The message is for the user."""
