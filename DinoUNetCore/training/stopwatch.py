"""Where a training's time goes: seconds per stage, patches per second, and the slowest stage in words."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from DinoUNetCore.durations import in_words

Item = TypeVar("Item")

# The stages of an epoch. A GPU works on after its orders were given: what it does then counts to the next stage that
# needs a result, which in each batch is LEARNING.
WAITING = "waiting for data"
AUGMENTING = "augmentation"
LEARNING = "forward, backward and step"
VALIDATING = "validation"
SAVING = "saving"
ON_PATCHES = (WAITING, AUGMENTING, LEARNING)  # what is done for the patches that are trained on

MUCH_WAITING = 0.2  # of the time for patches: beyond, more loader processes may help


class Stopwatch:
    """Measures stages: `with watch(LEARNING): ...`, or `for batch in watch.each(WAITING, batches): ...`."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter):
        """clock: seconds since any moment."""
        self._clock = clock
        self._seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Count the time within the block to `stage`."""
        started = self._clock()
        try:
            yield
        finally:
            self._seconds[stage] = self._seconds.get(stage, 0.0) + self._clock() - started

    def each(self, stage: str, items: Iterable[Item]) -> Iterator[Item]:
        """The items; the time until each of them comes counts to `stage`."""
        iterator = iter(items)
        while True:
            with self(stage):
                try:
                    item = next(iterator)
                except StopIteration:
                    return
            yield item

    def lap(self, patches: int) -> dict[str, Any]:
        """What was measured since the last lap, for a row of the history, and begin anew.

        patches: how many were trained on. Returns {"stages": {stage: seconds}, "patches_per_second": of the time spent
        on patches (None: none was), "waiting": the share of that time that was spent waiting for data}.
        """
        seconds, self._seconds = self._seconds, {}
        return {"stages": {stage: round(spent, 4) for stage, spent in seconds.items()}} | throughput(seconds, patches)


def throughput(seconds: Mapping[str, float], patches: int) -> dict[str, float | None]:
    """"patches_per_second" and "waiting" of {stage: seconds}, as in `Stopwatch.lap`."""
    on_patches = sum(seconds.get(stage, 0.0) for stage in ON_PATCHES)
    if not on_patches:
        return {"patches_per_second": None, "waiting": None}
    return {"patches_per_second": patches / on_patches, "waiting": seconds.get(WAITING, 0.0) / on_patches}


def where_time_went(history: Sequence[Mapping[str, Any]]) -> str:
    """In a sentence or two, the share of each stage in the epochs of a history, the slowest first; "" if unknown."""
    totals: dict[str, float] = {}
    for row in history:
        for stage, seconds in row.get("stages", {}).items():
            totals[stage] = totals.get(stage, 0.0) + seconds
    whole = sum(totals.values())
    if not whole:
        return ""
    ranked = sorted(totals, key=lambda stage: -totals[stage])
    shares = ", ".join(f"{stage} {100 * totals[stage] / whole:.0f} %" for stage in ranked)
    text = f"Where the time went ({in_words(whole)}): {shares}."
    if (throughput(totals, 0)["waiting"] or 0) > MUCH_WAITING:
        text += " The network waits for data: more --workers, or a faster disk, would make it quicker."
    return text
