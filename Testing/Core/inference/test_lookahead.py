"""Making one item ahead: the same items, the same errors, and no thread that outlives it."""

import threading
import time

import pytest
import torch

from DinoUNetCore.inference.lookahead import one_ahead


def background_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("one-ahead")]


@pytest.mark.parametrize("in_background", [False, True])
def test_items_come_in_order_and_all_of_them(in_background):
    with one_ahead(range(20), in_background) as items:
        assert list(items) == list(range(20))
    with one_ahead([], in_background) as items:
        assert list(items) == []
    assert not background_threads()


def test_exactly_one_item_is_made_ahead():
    made = []

    def items():
        for number in range(9):
            made.append(number)
            yield number

    with one_ahead(items()) as ahead:
        for number in ahead:
            deadline = time.monotonic() + 10
            while len(made) < min(number + 2, 9) and time.monotonic() < deadline:
                time.sleep(0.001)
            time.sleep(0.01)
            assert len(made) == min(number + 2, 9)


@pytest.mark.parametrize("in_background", [False, True])
def test_an_error_comes_where_its_item_is_asked_for(in_background):
    def items():
        yield 1
        raise MemoryError("of the second")

    with one_ahead(items(), in_background) as ahead:
        assert next(ahead) == 1
        with pytest.raises(MemoryError, match="of the second"):
            next(ahead)
    assert not background_threads()


def test_leaving_early_ends_the_thread():
    with pytest.raises(KeyboardInterrupt), one_ahead(iter(int, 1)) as items:
        next(items)
        raise KeyboardInterrupt
    assert not background_threads()


def test_nothing_holds_an_item_that_was_used():
    class Large:
        alive = 0

        def __init__(self):
            Large.alive += 1

        def __del__(self):
            Large.alive -= 1

    with one_ahead(Large() for _ in range(5)) as items:
        for item in items:
            del item
            time.sleep(0.02)
            assert Large.alive <= 1  # the one made ahead


@pytest.mark.parametrize("inference", [False, True])
def test_the_background_computes_in_the_caller_s_mode(inference):
    with torch.inference_mode(inference), one_ahead(torch.ones(1) for _ in range(2)) as items:
        assert [item.is_inference() for item in items] == [inference] * 2
