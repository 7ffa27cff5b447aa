"""Waiting in the event loop, and measuring how long it stood still."""

import time

import pytest
import qt
from Host.event_loop import Blocking


def test_waiting_ends_when_the_condition_holds(host, scene):
    done = []
    qt.QTimer.singleShot(30, lambda: done.append(True))
    assert host.wait_until(lambda: done) < 1.0


def test_waiting_in_vain_is_an_error(host, scene):
    with pytest.raises(TimeoutError, match="the moon"):
        host.wait_until(lambda: False, timeout=0.05, what="the moon")


def test_an_error_in_the_condition_comes_through(host, scene):
    with pytest.raises(ZeroDivisionError):
        host.wait_until(lambda: 1 / 0)


def test_a_slot_that_takes_long_is_noticed(host, scene):
    done = []

    def work():
        time.sleep(0.3)
        done.append(True)

    qt.QTimer.singleShot(20, work)
    assert 0.2 < host.wait_until(lambda: done) < 5


def test_code_without_an_event_loop_blocks(scene):
    with Blocking() as blocking:
        time.sleep(0.2)
    assert blocking.longest > 0.15
