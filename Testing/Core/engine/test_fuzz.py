"""Thousands of senseless requests, always the same ones: each is answered, nothing hangs, nothing grows."""

import copy
import random
import tracemalloc
from contextlib import suppress

import pytest

from DinoUNetCore.engine.protocol import encode_frame
from DinoUNetCore.engine.refusals import Refusal
from DinoUNetCore.engine.requests import parse_request

IMAGE = {
    "name": "CT",
    "dtype": "<i2",
    "components": 1,
    "size": [4, 5, 2],
    "spacing": [4.5, 4, 2.5],
    "origin": [-1.5, 0, 3],
    "direction": [1, 0, 0, 0, 1, 0, 0, 0, 1],
    "transform": None,
}
SHIFTED = IMAGE | {"dtype": ">f4", "transform": [1, 0, 0, 5, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]}
SEGMENT = {
    "request": "segment",
    "model": {"name": "phantom-tiny"},
    "channels": [IMAGE],
    "dimension": 3,
    "region": [[0, 4], [1, 3], [1, 2]],
    "options": {"device": "cpu", "precision": "auto", "batch_size": 3, "threads": 1, "max_memory": 4.5},
}
BASES = [
    SEGMENT,
    SEGMENT,
    SEGMENT | {"channels": [IMAGE, SHIFTED]},
    SEGMENT | {"model": {"sha256": "0123456789abcdef" * 4}},
    {"request": "models", "action": "add", "source": "no such folder", "overwrite": True},
    {"request": "models", "action": "put", "sha256": "ab" * 32, "total_bytes": 80},
    {"request": "models", "action": "remove", "name": "no such model"},
    {"request": "cancel", "target": 1},
]
STRANGE = (None, True, -1, 0, 1, 2.5, 1e9, 2**63, "", "x" * 300, "<i2", [], [[]], {}, {"name": "a"}, "\u202e", [0] * 16)


def mutated(value, rng):
    """The value with a few of its parts, at any depth, replaced, removed, doubled or added."""
    value = copy.deepcopy(value)
    for _ in range(rng.randint(1, 4)):
        node = value
        while isinstance(node, dict | list) and node:
            keys = list(node) if isinstance(node, dict) else range(len(node))
            key = rng.choice(keys)
            if rng.random() < 0.4 or not isinstance(node[key], dict | list):
                action = rng.randrange(3)
                if action == 0:
                    node[key] = copy.deepcopy(rng.choice(STRANGE))
                elif action == 1:
                    del node[key]
                elif isinstance(node, list):
                    node.insert(rng.randrange(len(node) + 1), copy.deepcopy(rng.choice(STRANGE)))
                else:
                    node[str(rng.choice(STRANGE))] = copy.deepcopy(node[key])
                break
            node = node[key]
    return value


def test_ten_thousand_mutated_requests_are_understood_or_refused():
    rng = random.Random(4)
    outcomes = {"understood": 0, "bad_request": 0, "bad_input": 0}
    tracemalloc.start()
    for _ in range(10_000):
        fields = mutated(rng.choice(BASES), rng)
        try:
            parse_request(1, fields)
            outcomes["understood"] += 1
        except Refusal as refusal:
            outcomes[refusal.code] += 1
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 << 20
    assert outcomes["understood"] > 500 and outcomes["bad_request"] > 5000


def announced(fields):
    """Bytes of data that an engine waits for after a request."""
    try:
        return sum(parse_request(1, fields).parts)
    except Refusal:
        return 0


def test_an_engine_answers_hundreds_of_mutated_requests_and_serves_on(engine):
    rng = random.Random(5)
    codes = set()
    for _ in range(400):
        fields = {key: value for key, value in mutated(rng.choice(BASES), rng).items() if key.isidentifier()}
        if not isinstance(fields.get("request"), str):
            fields["request"] = "nothing"
        identity = engine.request(**fields)
        expected = announced(fields)
        sent = rng.choice((expected, expected, expected + 1, expected // 2))
        if sent < 10_000:
            engine.send_data(identity, rng.randbytes(sent), rng.choice((7, 80, 10**6)))
        if sent < expected or sent >= 10_000 or rng.random() < 0.2:
            engine.request("cancel", target=identity)
        codes.add(engine.answer(identity, timeout=20).code)
    assert codes == {None, "bad_request", "bad_input", "cancelled", "unknown_model"}, engine.log
    assert "Traceback" not in engine.log


@pytest.mark.parametrize("seed", range(6))
def test_an_engine_ends_at_a_broken_stream_with_one_last_sentence(start_engine, seed):
    rng = random.Random(seed)
    engine = start_engine()
    stream = bytearray(b"".join(encode_frame({"id": n + 1, **mutated(rng.choice(BASES), rng)}) for n in range(20)))
    at = rng.randrange(len(stream))
    stream[at:at] = rng.choice([b"\n", b"\xff\n", b"[" * 2000 + b"\n", rng.randbytes(50) + b"\n", b"NaN\n"])
    engine.write(bytes(stream))
    last = None
    with suppress(EOFError):
        while True:
            last = engine.next(timeout=20).fields
    assert last == {"id": None, "event": "error", "code": "protocol", "message": last["message"]}
    assert engine.process.wait(5) == 3
    assert "Traceback" not in engine.log
