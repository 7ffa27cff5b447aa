"""The one kind of error that is shown to a user as it stands, and one that libraries tell in words of their own."""

_NO_MEMORY = (
    "out of memory", "not enough memory", "can't allocate memory", "ALLOC_FAILED",
    "std::bad_alloc", "bad allocation", "Failed to allocate memory",
)  # fmt: skip
"""Of torch on GPUs and on the CPU, of C++ libraries (on Windows and elsewhere), and of ITK."""


class UserError(Exception):
    """Something the user can mend. Its text is one sentence: what is wrong, with which file, and what to do."""


class Terminated(Exception):  # noqa: N818 - not a fault
    """The system told the process to end, and it has saved where it stands. The message is for the user."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether NumPy, ITK or torch could not allocate. All but NumPy say it in words only that they have in common."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_MEMORY)
    )
