"""The engine's pipes: nothing foreign on its output, no answer without an end, bounded memory, exit codes."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from engine_client import ROOT, describe, segment_fields

from DinoUNetCore.engine.protocol import MAGIC, MAX_LINE, encode_frame

TINY = {"name": "phantom-tiny"}

# Writes to standard output by Python, by its descriptor and by C, from before the engine starts until it ends.
NOISE = """
import ctypes, os, subprocess, threading, time
def noise():
    while True:
        print("noise from Python", flush=True)
        os.write(1, b"noise from the descriptor\\n")
        try:
            c = ctypes.CDLL(None); c.puts(b"noise from C"); c.fflush(None)
        except (OSError, TypeError):
            pass
        time.sleep(0.005)
threading.Thread(target=noise, daemon=True).start()
time.sleep(0.1)
from DinoUNetCore.worker import main
main([])
"""


def resident_bytes(engine):
    """Memory of the process; skips where the system does not tell."""
    status = Path(f"/proc/{engine.process.pid}/status")
    if not status.exists():
        pytest.skip("needs /proc")
    return next(int(line.split()[1]) << 10 for line in status.read_text().splitlines() if line.startswith("VmRSS"))


def test_the_first_line_is_the_magic_line_and_comes_before_torch(start_engine):
    started = time.monotonic()
    engine = start_engine(read=False)
    assert engine.process.stdout.read(len(MAGIC)) == MAGIC
    assert time.monotonic() - started < 1.5


def test_what_others_print_never_reaches_the_client_and_a_banner_is_skipped(start_engine, phantom):
    engine = start_engine(command=[sys.executable, "-c", NOISE])
    answer = engine.segment([describe(phantom)], TINY)
    assert answer.result["found"]
    assert engine.ask("shutdown").result
    for source in ("Python", "the descriptor"):
        assert f"noise from {source}" in engine.log


def test_models_are_listed_without_torch(start_engine):
    engine = start_engine(environment={"PYTHONPROFILEIMPORTTIME": "1"})
    (model,) = engine.ask("models", action="list").json["models"]
    assert (model["name"], model["source"], model["problem"]) == ("phantom-tiny", "embedded", None)
    assert "import time" in engine.log and "| torch" not in engine.log


def test_hello_tells_versions_and_devices(engine):
    result = engine.ask("hello").result
    assert result["protocol"] == 1
    assert set(result["versions"]) >= {"python", "torch", "timm", "SimpleITK", "numpy"}
    device = result["devices"][-1]
    assert device["name"] == "cpu" and device["description"]
    assert device["total_bytes"] is None or device["total_bytes"] > 1 << 28


def test_unload_frees_the_models_and_the_engine_serves_on(engine, phantom):
    first = engine.segment([describe(phantom)], TINY)
    assert engine.ask("unload").result
    answer = engine.segment([describe(phantom)], TINY)
    assert "loading" in [event["stage"] for event in answer.named("progress")]
    assert answer.data == first.data


def test_shutdown_ends_with_0_after_its_result_and_all_before(start_engine):
    engine = start_engine()
    listing = engine.request("models", action="list")
    last = engine.request("shutdown")
    assert engine.answer(listing).json["models"]
    assert engine.answer(last).result
    assert engine.process.wait(5) == 0


@pytest.mark.parametrize(
    "garbage",
    [
        b"\n",
        b"hello\n",
        b"[]\n",
        b'{"bytes": 1048577}\n',
        b'{"bytes": true}\n',
        b"x" * (MAX_LINE + 1),
        b"\xff" * 70_000 + b"\n",
    ],
    ids=lambda garbage: repr(garbage[:20]),
)
def test_a_broken_frame_gets_one_error_and_exit_code_3(start_engine, garbage):
    engine = start_engine()
    listing = engine.request("models", action="list")
    assert engine.answer(listing).json["models"]
    engine.write(garbage)
    last = engine.next().fields
    assert (last["id"], last["event"], last["code"]) == (None, "error", "protocol")
    with pytest.raises(EOFError):
        engine.next()
    assert engine.process.wait(5) == 3
    assert "Traceback" not in engine.log


def test_a_broken_frame_ends_the_engine_in_the_middle_of_work_too(start_engine, long_phantom):
    engine = start_engine()
    engine.start_segmentation([describe(long_phantom)], TINY)
    while engine.next().fields.get("stage") != "segmenting":
        pass
    engine.write(b"?\n")
    started = time.monotonic()
    assert engine.process.wait(5) == 3
    assert time.monotonic() - started < 2


def test_a_broken_frame_ends_an_engine_whose_answers_nobody_reads(start_engine):
    engine = start_engine(read=False)
    for _ in range(300):
        engine.request("models", action="add", source="x" * 4000)  # each error repeats the name
    engine.write(b"?\n")
    assert engine.process.wait(10) == 3


def test_an_engine_whose_answers_pile_up_unread_ends_itself(start_engine):
    engine = start_engine(read=False)
    for _ in range(40_000):
        engine.request("dance")
        if engine.process.poll() is not None:
            break
    assert engine.process.wait(10) == 3


def test_a_client_that_does_not_read_for_minutes_misses_progress_and_nothing_else():
    program = """
import os
from DinoUNetCore.engine.channel import Channel
from DinoUNetCore.engine.job import Job
from DinoUNetCore.engine.requests import Hello
job = Job(Hello(1), Channel(os.pipe()[1]))
for number in range(10_000):
    job.progress(number / 10_000, None, "segmenting")
print("alive")
"""
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert result.stdout.strip() == "alive"


def test_a_client_that_reads_only_after_it_has_written_is_served(start_engine, phantom):
    engine = start_engine(read=False)
    identities = [engine.request("dance") for _ in range(900)]
    last = engine.start_segmentation([describe(phantom)], TINY)
    engine.start_reading()
    assert [engine.answer(identity).code for identity in identities] == ["bad_request"] * 900
    assert engine.answer(last).result


@pytest.mark.parametrize("identity", [0, -4, True, 2.0, "2", None, 2**60])
def test_a_request_without_a_usable_id_is_answered_without_one(engine, identity):
    engine.write(encode_frame({"request": "hello", "id": identity}))
    answer = engine.next().fields
    assert (answer["id"], answer["event"], answer["code"]) == (None, "error", "bad_request")


def test_ids_have_to_grow(engine):
    first = engine.request("dance")
    engine.write(encode_frame({"request": "hello", "id": first}))
    assert [engine.next().fields["id"] for _ in range(2)] == [first, None]


def test_data_for_nobody_and_data_out_of_order_are_refused(engine, phantom):
    engine.write(encode_frame({"id": 10**9, "data": 0}, b"abc"))
    assert engine.next().fields["code"] == "bad_request"
    header, voxels = describe(phantom)
    for number, data in ((1, voxels), (0, voxels + b"x"), ("0", voxels), (None, voxels)):
        identity = engine.request(**segment_fields([header], TINY))
        engine.write(encode_frame({"id": identity, "data": number}, data))
        assert engine.answer(identity).code == "bad_request"
    identity = engine.request("hello")
    engine.write(encode_frame({"id": identity, "data": 0}, b"abc"))
    assert engine.answer(identity).events  # the one or the other, as it comes
    assert engine.segment([(header, voxels)], TINY).result


def test_declared_sizes_take_no_memory_before_the_bytes_are_there(engine, phantom):
    header, _ = describe(phantom)
    before = resident_bytes(engine)
    for fields in (
        segment_fields([header | {"size": [2000, 2000, 2000]}], TINY),
        {"request": "models", "action": "put", "sha256": "ab" * 32, "total_bytes": 15 << 30},
    ):
        identity = engine.request(**fields)
        engine.send_data(identity, bytes(3 << 20))
        engine.request("cancel", target=identity)
        assert engine.answer(identity).code == "cancelled"
    assert resident_bytes(engine) - before < 32 << 20


def test_memory_does_not_grow_from_request_to_request(engine, phantom):
    header, _ = describe(phantom)
    large = (header | {"size": [256, 256, 100]}, bytes(256 * 256 * 100 * 2))
    sizes = []
    for _ in range(6):
        identity = engine.start_segmentation([large], TINY)
        engine.request("cancel", target=identity)
        assert engine.answer(identity).code == "cancelled"
        assert engine.segment([describe(phantom)], TINY).result
        sizes.append(resident_bytes(engine))
    assert sizes[-1] - sizes[1] < 20 << 20


def test_an_image_that_needs_more_memory_than_there_is_is_refused_and_the_engine_serves_on(start_engine, phantom):
    resource = pytest.importorskip("resource")
    if not hasattr(resource, "prlimit"):
        pytest.skip("needs prlimit")
    engine = start_engine()
    assert engine.segment([describe(phantom)], TINY).result
    status = Path(f"/proc/{engine.process.pid}/status").read_text()
    in_use = next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmSize"))
    resource.prlimit(engine.process.pid, resource.RLIMIT_AS, (in_use + (1 << 28), resource.RLIM_INFINITY))
    header, voxels = describe(phantom)
    answer = engine.segment([(header | {"spacing": [500.0, 500.0, 5.0]}, voxels)], TINY)
    assert answer.code == "out_of_memory" and "memory" in answer.message
    assert engine.segment([describe(phantom)], TINY).result


def test_a_package_that_is_missing_is_named(start_engine, phantom, tmp_path):
    (tmp_path / "timm.py").write_text("raise ModuleNotFoundError('no timm', name='timm')", encoding="utf-8")
    engine = start_engine(environment={"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])})
    answer = engine.segment([describe(phantom)], TINY)
    assert answer.code == "bad_input" and "lacks the package timm" in answer.message
    assert sys.executable in answer.message
