"""How soon the engine is there: python Testing/Benchmarks/engine_start.py

Prints JSON: seconds from starting the process to its first answer, and to the first progress and the first slices of
the first segmentation (cold: torch and the model are loaded); seconds from the last voxel of a second one to its first
progress (warm); and how long a CT of 512 x 512 x 300 int16 voxels takes through the pipe to the engine, and its label
map back. Exit code 1 where the warm start takes longer than the limit.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2])]

from engine_client import EngineProcess, describe, segment_fields  # noqa: E402

from DinoUNetCore.dataset.phantom import make_phantom  # noqa: E402

MODEL = {"name": "phantom-tiny"}
LARGE = (512, 512, 300)
LIMIT_WARM_SECONDS = 1.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, help="also write the JSON to this file")
    options = parser.parse_args()
    report = measure()
    text = json.dumps(report, indent=2)
    print(text)
    if options.output:
        options.output.write_text(text + "\n", encoding="utf-8")
    return 0 if report["within_limits"] else 1


def measure() -> dict[str, Any]:
    header, voxels = describe(make_phantom(3, size=(64, 64, 8))[0])
    started = time.monotonic()
    engine = EngineProcess()
    try:
        listing = engine.request("models", action="list")
        engine.answer(listing)
        answering = time.monotonic() - started
        identity = engine.start_segmentation([(header, voxels)], MODEL)
        cold_loading = _first_progress(engine) - started
        while engine.next().fields.get("stage") != "segmenting":
            pass
        cold_work = time.monotonic() - started
        engine.answer(identity)

        identity = engine.request(**segment_fields([header], MODEL))
        engine.send_data(identity, voxels)
        sent = time.monotonic()
        warm = _first_progress(engine) - sent
        engine.answer(identity)

        there, back = _transfer(engine, header)
    finally:
        engine.end()
    return {
        "cold_first_answer_seconds": round(answering, 3),
        "cold_first_progress_seconds": round(cold_loading, 3),
        "cold_first_slices_seconds": round(cold_work, 3),
        "warm_first_progress_seconds": round(warm, 4),
        "transfer": {"voxels": list(LARGE), "int16_to_engine_seconds": there, "uint8_back_seconds": back},
        "limits": {"warm_first_progress_seconds": LIMIT_WARM_SECONDS},
        "within_limits": warm < LIMIT_WARM_SECONDS,
    }


def _first_progress(engine: EngineProcess) -> float:
    while engine.next().fields["event"] != "progress":
        pass
    return time.monotonic()


def _transfer(engine: EngineProcess, header: dict[str, Any]) -> tuple[float, float]:
    """Seconds for the voxels of a large CT to arrive, and for its labels to come back. Its spacing is so small that the
    network sees each slice as one pixel, padded: the work in between does not count, and is short.
    """
    i, j, k = LARGE
    voxels = bytes(i * j * k * 2)
    fields = segment_fields([header | {"size": LARGE, "spacing": [0.001, 0.001, 1.0]}], MODEL)
    identity = engine.request(**fields)
    started = time.monotonic()
    engine.send_data(identity, voxels)
    there = _first_progress(engine) - started
    while engine.next().fields["event"] != "result":
        pass
    started = time.monotonic()
    left = i * j * k
    while left:
        left -= len(engine.next().data)
    return round(there, 3), round(time.monotonic() - started, 3)


if __name__ == "__main__":
    sys.exit(main())
