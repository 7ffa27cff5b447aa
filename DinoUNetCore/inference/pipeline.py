"""Many cases in a row: the next one is read, and the last one written, while the present one is worked on."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import zip_longest
from typing import Any, TypeVar

from DinoUNetCore.errors import UserError

Case = TypeVar("Case")


def in_three_steps(
    cases: Sequence[Case],
    read: Callable[[Case], Any],
    work: Callable[[Case, Any], Any],
    write: Callable[[Case, Any], None],
    may_read_ahead: Callable[[Case], bool] = lambda case: True,
) -> None:
    """write(case, work(case, read(case))) for every case, in their order.

    A background thread reads a case ahead, and another one writes. At most one case is read ahead, and at most one
    waits to be written; so three are in memory, and only two where `may_read_ahead` says that there is no room for the
    next one, which is then read when its turn comes. A UserError of `read` or `work` goes to `write` in place of the
    result. Anything else, such as Ctrl-C, ends the run; what was finished before is written first.
    """
    reading, written = None, None
    with (
        ThreadPoolExecutor(1, thread_name_prefix="reader") as reader,
        ThreadPoolExecutor(1, thread_name_prefix="writer") as writer,
    ):
        for case, following in zip_longest(cases, cases[1:]):
            result = _attempt(read, case) if reading is None else reading.result()
            reading = None
            # Asked when the present case is in memory: before, its room would be taken for free.
            if following is not None and may_read_ahead(following):
                reading = reader.submit(_attempt, read, following)
            if not isinstance(result, UserError):
                result = _attempt(work, case, result)
            waiting = writer.submit(write, case, result)
            del result  # nothing here holds what is no longer needed
            if written is not None:
                written.result()
            written = waiting
        if written is not None:
            written.result()


def _attempt(function: Callable, *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except UserError as error:
        return error
