"""What can go wrong between this machine and a Hugging Face Hub, each in one sentence."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from json import JSONDecodeError

from DinoUNetCore.errors import UserError

_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
_WINDOWS_FULL = {39, 112}  # ERROR_HANDLE_DISK_FULL, ERROR_DISK_FULL

LOGIN = "run `hf auth login` or set HF_TOKEN"


class DamagedDownload(OSError):  # noqa: N818  the field's own words
    """What arrived is not what the hub had announced."""


class NotAHub(OSError):  # noqa: N818
    """What answers does not talk as a Hugging Face Hub does."""


@contextmanager
def explained(what: str, repository: str, instead: str) -> Iterator[None]:
    """Errors of the hub's library, the network and the cache's disk become a UserError; its warnings are not shown.

    what: begins the sentence, with its verb ("the bundle hf:a/b cannot be downloaded"). repository: "owner/name".
    instead: ends it: what else the user can do. Other exceptions (a callback's, such as a cancel, and bugs) pass.
    """
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError

    known = (OSError, RuntimeError, JSONDecodeError, UnicodeEncodeError, EntryNotFoundError, HFValidationError)
    try:
        with _no_warnings():
            yield
    except UserError:
        raise
    except (*known, *HfHubHTTPError.__bases__) as error:  # RuntimeError: of the library's Rust part, which uploads
        raise UserError(f"{what}: {_reason(_root(error), repository)}, {instead}.") from error


@contextmanager
def _no_warnings() -> Iterator[None]:
    """The hub's library keeps to itself that it tries again; who asked for more than its warnings gets it."""
    from huggingface_hub.utils import logging

    verbosity = logging.get_verbosity()
    if verbosity == logging.WARNING:
        logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


def disk_full(folder: object, needed: int) -> UserError:
    """For what does not fit on the disk of `folder`. needed: bytes that are still to be written."""
    return UserError(
        f"there is not enough space in {folder} for a download that needs {_size(needed)} more: free some, or name "
        "another folder by HF_HOME; what is there already is kept."
    )


def is_disk_full(error: BaseException) -> bool:
    return isinstance(error, OSError) and (error.errno in _FULL or getattr(error, "winerror", None) in _WINDOWS_FULL)


def _reason(error: BaseException, repository: str) -> str:
    """What happened and what to do about it."""
    from huggingface_hub import constants, errors

    hub = constants.ENDPOINT
    if isinstance(error, errors.OfflineModeIsEnabled):
        return "the hub's offline mode is on (HF_HUB_OFFLINE=1) and the files are not in its cache; switch it off"
    if isinstance(error, errors.HFValidationError):
        return f"{repository} is no name of a repository; write it as owner/name"
    if isinstance(error, errors.GatedRepoError):
        return f"its owner wants a login and consent first; accept the terms on {hub}/{repository} and {LOGIN}"
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"{hub} has no repository {repository}, or it is private; check the name or {LOGIN}"
    if isinstance(error, errors.EntryNotFoundError | errors.RevisionNotFoundError):
        return f"{repository} has lost the file since it was listed; try again"
    if isinstance(error, errors.HfHubHTTPError):
        return _refusal(error.response.status_code, hub)
    if isinstance(error, NotAHub | JSONDecodeError):
        return f"{hub} does not answer as a hub does; check HF_ENDPOINT and whether the network wants a login first"
    if isinstance(error, UnicodeEncodeError):  # in the headers of a request
        return f"your login has letters that no login has; {LOGIN}"
    if isinstance(error, DamagedDownload) or "Consistency check failed" in str(error):
        return "what arrived is damaged and was thrown away; try again"
    if is_disk_full(error):
        return f"the disk of {constants.HF_HUB_CACHE} is full; free some space or name another folder by HF_HOME"
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename} cannot be used ({error.strerror}); check it or name another folder by HF_HOME"
    return f"the connection to {hub} failed ({_cause(error)}); check the network and try again"


def _refusal(status: int, hub: str) -> str:
    if status == 401:
        return f"{hub} does not accept your login; {LOGIN}"
    if status == 403:
        return f"{hub} does not give your login the permission; log in as somebody who has it (hf auth login, HF_TOKEN)"
    if status == 429:
        return f"{hub} has had too many requests from here; try again in some minutes"
    return f"{hub} answers with error {status}; try again later"


def _root(error: BaseException) -> BaseException:
    """The hub's library wraps what happened in "not in the cache either"."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    while isinstance(error, LocalEntryNotFoundError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def _cause(error: BaseException) -> str:
    """What the operating system says, which network libraries wrap many times, or else their own word for it."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, OSError) and inner.strerror:
            return inner.strerror
        inner = inner.__cause__ or inner.__context__
    return "no answer in time" if "Timeout" in type(error).__name__ else type(error).__name__


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
