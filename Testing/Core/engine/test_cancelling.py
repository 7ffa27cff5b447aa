"""Stopping: a cancelled request ends at once, wherever it is, and the engine goes on; without input it ends itself."""

import random
import time

import pytest
from engine_client import describe, segment_fields

TINY = {"name": "phantom-tiny"}
DELAYS = [0.0, 0.001, 0.01, 0.03, 0.06, 0.1, 0.2, 0.3, 0.5, 0.8]


def cancel(engine, identity):
    """Cancel; returns (the request's last answer, seconds until it came)."""
    started = time.monotonic()
    engine.request("cancel", target=identity)
    return engine.answer(identity), time.monotonic() - started


@pytest.mark.parametrize("delay", DELAYS)
def test_a_cancel_at_any_moment_is_answered_at_once_and_work_stops(engine, phantom, long_phantom, delay):
    identity = engine.start_segmentation([describe(long_phantom)], TINY)
    time.sleep(delay)
    answer, seconds = cancel(engine, identity)
    assert answer.code == "cancelled" and seconds < 1
    started = time.monotonic()
    assert engine.segment([describe(phantom)], TINY).result["found"]
    assert time.monotonic() - started < 10  # the cancelled work, which takes longer, has stopped


def test_a_cancel_while_torch_is_loaded_is_answered_at_once(start_engine, phantom):
    engine = start_engine()
    identity = engine.start_segmentation([describe(phantom)], TINY)
    assert engine.answer(engine.request("cancel", target=10**6)).result  # it reads
    time.sleep(0.5)
    answer, seconds = cancel(engine, identity)
    assert answer.code == "cancelled" and seconds < 1
    assert engine.segment([describe(phantom)], TINY).result["found"]


def test_a_cancel_while_voxels_arrive_drops_them_and_what_still_comes(engine, phantom):
    header, voxels = describe(phantom)
    identity = engine.request(**segment_fields([header], TINY))
    engine.send_data(identity, voxels[:1000], 100)
    assert cancel(engine, identity)[0].code == "cancelled"
    engine.send_data(identity, voxels)
    assert engine.segment([(header, voxels)], TINY).result["found"]


def test_a_waiting_request_is_cancelled_too(engine, long_phantom):
    busy = engine.start_segmentation([describe(long_phantom)], TINY)
    waiting = engine.request("hello")
    assert cancel(engine, waiting)[0].code == "cancelled"
    assert cancel(engine, busy)[0].code == "cancelled"


def test_cancelling_what_has_ended_or_never_was_does_nothing(engine, phantom):
    identity = engine.start_segmentation([describe(phantom)], TINY)
    assert engine.answer(identity).result
    for target in (identity, identity + 1, 0, 10**9):
        assert engine.ask("cancel", target=target).result["event"] == "result"


def test_a_cancel_while_the_result_is_sent_ends_it(start_engine, phantom):
    engine = start_engine(read=False)
    header, _ = describe(phantom)
    header["size"] = [400, 400, 60]  # a result far larger than a pipe holds
    identity = engine.request(**segment_fields([header], TINY))
    engine.send_data(identity, bytes(400 * 400 * 60 * 2))
    time.sleep(6)
    engine.request("cancel", target=identity)
    time.sleep(0.5)
    engine.start_reading()
    answer = engine.answer(identity)
    assert answer.code == "cancelled"
    assert engine.ask("hello").result


def test_one_segmentation_at_a_time_the_second_is_told_so(engine, phantom, long_phantom):
    first = engine.start_segmentation([describe(long_phantom)], TINY)
    second = engine.start_segmentation([describe(phantom)], TINY)
    put = engine.request("models", action="put", sha256="ab" * 32, total_bytes=5)
    assert engine.answer(second).code == "busy"
    assert engine.answer(put).code == "busy"
    assert cancel(engine, first)[0].code == "cancelled"
    assert engine.segment([describe(phantom)], TINY).result


def test_64_requests_may_wait_and_no_more(engine, long_phantom):
    busy = engine.start_segmentation([describe(long_phantom)], TINY)
    waiting = [engine.request("models", action="list") for _ in range(70)]
    assert [engine.answer(identity).code for identity in waiting[64:]] == ["busy"] * 6
    assert cancel(engine, busy)[0].code == "cancelled"
    assert all(engine.answer(identity).json["models"] for identity in waiting[:64])


@pytest.mark.parametrize("moment", ["at once", "while torch is loaded", "while voxels arrive", "in the middle of work"])
def test_the_engine_is_gone_within_two_seconds_when_its_input_closes(start_engine, long_phantom, moment):
    engine = start_engine()
    header, voxels = describe(long_phantom)
    if moment == "while torch is loaded":
        engine.request("hello")
        time.sleep(0.7)
    elif moment == "while voxels arrive":
        engine.send_data(engine.request(**segment_fields([header], TINY)), voxels[:100_000])
    elif moment == "in the middle of work":
        engine.start_segmentation([(header, voxels)], TINY)
        while engine.next().fields.get("stage") != "segmenting":
            pass
    started = time.monotonic()
    assert engine.close() == 0
    assert time.monotonic() - started < 2
    assert "Traceback" not in engine.log


def test_cancels_in_a_row_leave_an_engine_in_order(engine, phantom, long_phantom):
    rng = random.Random(1)
    described = describe(long_phantom)
    for _ in range(8):
        identity = engine.start_segmentation([described], TINY)
        time.sleep(rng.random() * 0.05)
        engine.request("cancel", target=identity)
    assert engine.segment([describe(phantom)], TINY).result["found"]
