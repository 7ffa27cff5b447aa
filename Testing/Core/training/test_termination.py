"""Being told to end: seen once, and without effect on what comes after."""

import os
import signal
import threading
from contextlib import contextmanager

import pytest

from DinoUNetCore.training import termination
from DinoUNetCore.training.termination import termination_requests

pytestmark = pytest.mark.skipif(os.name != "posix", reason="only POSIX lets a process send itself SIGTERM")


def test_a_request_is_noted_and_does_not_end_the_process():
    usual = signal.getsignal(signal.SIGTERM)
    with termination_requests() as request:
        assert not request.came
        signal.raise_signal(signal.SIGTERM)
        assert request.came
    assert signal.getsignal(signal.SIGTERM) == usual


def test_a_request_that_comes_twice_at_once_is_one_and_a_later_one_ends_the_process(monkeypatch):
    ended = []
    with temporarily(lambda *_: ended.append(True)), termination_requests() as request:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert request.came and not ended
        monkeypatch.setattr(termination, "SAME_WISH", 0.0)
        signal.raise_signal(signal.SIGTERM)
        assert ended


@contextmanager
def temporarily(handler):
    usual = signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, usual)


def test_other_threads_are_left_alone():
    requests = []

    def work():
        with termination_requests() as request:
            requests.append(request.came)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert requests == [False]
