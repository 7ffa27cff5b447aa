"""Many cases in three steps: in order, overlapping, with their own errors, and never more than one ahead."""

import threading
import time

import pytest

from DinoUNetCore.errors import UserError
from DinoUNetCore.inference.pipeline import in_three_steps

WAIT = 20.0  # seconds; far more than anything here takes


def run(count, read=lambda case: case, work=lambda case, volume: volume, **options):
    written = []
    in_three_steps(range(count), read, work, lambda case, result: written.append((case, str(result))), **options)
    return written


def test_every_case_is_written_in_order_with_what_was_made_of_it():
    assert run(5, lambda case: 10 * case, lambda case, volume: volume + 1) == [(n, str(10 * n + 1)) for n in range(5)]
    assert run(0) == []


def test_an_error_stays_with_its_case():
    def read(case):
        if case in (0, 3):
            raise UserError(f"{case} is damaged")
        return case

    def work(case, volume):
        if case == 2:
            raise UserError("2 has two channels")
        return "fine"

    assert run(5, read, work) == [
        (0, "0 is damaged"), (1, "fine"), (2, "2 has two channels"), (3, "3 is damaged"), (4, "fine"),
    ]  # fmt: skip


def test_the_next_case_is_read_and_the_last_one_written_while_one_is_worked_on():
    read_two, written_zero, working_on_one = threading.Event(), threading.Event(), threading.Event()

    def read(case):
        if case == 2:
            assert working_on_one.wait(WAIT)
            read_two.set()

    def work(case, volume):
        if case == 1:
            working_on_one.set()
            assert read_two.wait(WAIT) and written_zero.wait(WAIT)

    def write(case, result):
        if case == 0:
            assert working_on_one.wait(WAIT)
            written_zero.set()

    in_three_steps(range(4), read, work, write)
    assert read_two.is_set() and written_zero.is_set()


def test_without_room_a_case_is_read_when_its_turn_comes():
    events = []
    run(3, lambda case: events.append(("read", case)), lambda case, _: events.append(("work", case)),
        may_read_ahead=lambda case: False)  # fmt: skip
    assert events == [(step, case) for case in range(3) for step in ("read", "work")]


def test_where_one_case_has_room_there_is_never_a_second_one_in_memory():
    taken, most = set(), []

    def read(case):
        taken.add(case)
        most.append(len(taken))
        time.sleep(0.02)  # while it is read its memory is not all taken yet

    in_memory = set()

    def work(case, _):
        in_memory.add(case)
        time.sleep(0.02)
        in_memory.discard(case)
        taken.discard(case)

    def read_whole(case):
        read(case)
        in_memory.add(case)

    assert len(run(6, read_whole, work, may_read_ahead=lambda case: not in_memory)) == 6
    assert max(most) == 1


def test_cases_are_read_ahead_again_as_soon_as_there_is_room():
    read_two, working_on_one = threading.Event(), threading.Event()

    def read(case):
        if case == 2:
            assert working_on_one.wait(WAIT)
            read_two.set()

    def work(case, _):
        if case == 1:
            working_on_one.set()
            assert read_two.wait(WAIT)

    run(3, read, work, may_read_ahead=lambda case: case == 2)


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
@pytest.mark.parametrize("step", ["read", "work", "write"])
def test_anything_else_ends_the_run_and_its_threads(error, step):
    if (error, step) != (KeyboardInterrupt, "work") and error is KeyboardInterrupt:
        pytest.skip("Ctrl-C comes to the main thread")
    written = []

    def fail(name, case):
        if name == step and case == 1:
            raise error

    with pytest.raises(error):
        in_three_steps(
            range(9),
            lambda case: fail("read", case),
            lambda case, _: fail("work", case),
            lambda case, _: fail("write", case) or written.append(case),
        )
    assert written == ([0, 2] if step == "write" else [0])  # what was finished is not lost
    assert not [t for t in threading.enumerate() if t.name.startswith(("reader", "writer"))]
