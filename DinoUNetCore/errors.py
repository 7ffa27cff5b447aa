"""The one kind of error that is shown to a user as it stands."""


class UserError(Exception):
    """Something the user can mend. Its text is one sentence: what is wrong, with which file, and what to do."""
