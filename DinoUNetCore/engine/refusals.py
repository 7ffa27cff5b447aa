"""How requests end without a result: a code for the client's program, a sentence for its user."""

import sys
import traceback

from DinoUNetCore.errors import UserError
from DinoUNetCore.weights.license import LicenseNotAccepted

LONGEST_SENTENCE = 2000


class Refusal(Exception):  # noqa: N818 - said to the client, not a fault
    """A request is answered with an error. code: of those in PROTOCOL.md."""

    def __init__(self, code: str, sentence: str):
        super().__init__(sentence)
        self.code = code


class Cancelled(Exception):  # noqa: N818 - nothing went wrong
    """Work on a request that has ended is to stop; there is nothing left to answer."""


def answer_to(error: Exception) -> tuple[str, str]:
    """(code, sentence) for an error. Of those that are faults of the engine, standard error gets the traceback."""
    if isinstance(error, Refusal):
        return error.code, sentence(error)
    if isinstance(error, LicenseNotAccepted):
        return "license", sentence(error)
    if isinstance(error, UserError):
        return "bad_input", sentence(error)
    if isinstance(error, MemoryError):
        return "out_of_memory", "the engine's computer has too little free memory for this; close other programs there."
    if isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith("DinoUNetCore"):
        return "bad_input", (
            f"the engine's Python ({sys.executable}) lacks the package {error.name}; install it there, or name another "
            "engine."
        )
    traceback.print_exception(error)
    return "internal", f"the engine failed at this ({type(error).__name__}: {sentence(error)}); its log says more."


def sentence(error: Exception) -> str:
    """An error's text in one line of bearable length."""
    text = " ".join(str(error).split())
    return text if len(text) <= LONGEST_SENTENCE else text[:LONGEST_SENTENCE] + " ..."
