"""Many cases in a row: the next one is read, and the last one written, while the present one is worked on."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from DinoUNetCore.errors import UserError
from DinoUNetCore.inference.lookahead import one_ahead

Case = TypeVar("Case")


def in_three_steps(
    cases: Sequence[Case],
    read: Callable[[Case], Any],
    work: Callable[[Case, Any], Any],
    write: Callable[[Case, Any], None],
    may_read_ahead: Callable[[Case], bool] = lambda case: True,
) -> None:
    """write(case, work(case, read(case))) for every case, in their order.

    `read` and `write` have a background thread each. At most one case is read ahead, and at most one waits to be
    written; so three are in memory, and only two where `may_read_ahead` says that there is no room for the next one. A
    UserError of `read` or `work` goes to `write` in place of the result. Anything else, such as Ctrl-C, ends the run;
    what is being written then is written to its end.
    """
    volumes = _read(cases, read, may_read_ahead)
    with ThreadPoolExecutor(1, thread_name_prefix="writer") as writer, one_ahead(volumes) as rest:
        written = None
        for case, take in rest:
            result = take()
            if not isinstance(result, UserError):
                result = _attempt(work, case, result)
            if written is not None:
                written.result()
            written = writer.submit(write, case, result)
            del take, result  # nothing here holds what is no longer needed
        if written is not None:
            written.result()


def _read(
    cases: Sequence[Case], read: Callable[[Case], Any], may_read_ahead: Callable[[Case], bool]
) -> Iterator[tuple[Case, Callable[[], Any]]]:
    """Each case with what gives its volume, or the UserError in its way: already read, or read when it is called."""
    for number, case in enumerate(cases):
        if number == 0 or may_read_ahead(case):
            yield case, [_attempt(read, case)].pop
        else:
            yield case, partial(_attempt, read, case)


def _attempt(function: Callable, *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except UserError as error:
        return error
