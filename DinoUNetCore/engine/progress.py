"""How far work is and how long it will still take, told to the client in bearable doses."""

import time

from DinoUNetCore.durations import in_words
from DinoUNetCore.engine.job import Job

BETWEEN = 0.1  # seconds between two events
LONG = 30.0  # seconds; work on a CPU that takes longer is announced


class Progress:
    """Called by the segmenter as (slices done, slices in all). announce: log the time that a long run will take."""

    def __init__(self, job: Job, announce: bool):
        self._job, self._announce = job, announce
        self._started = 0.0
        self._last = 0.0

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if done == 0:
            self._started = now
        elapsed = now - self._started
        if done and self._announce:
            self._announce = False
            expected = elapsed * total / done
            if expected > LONG and done < total:
                self._job.log("info", f"this will take about {in_words(expected)} on the CPU.")
        if done in (0, total) or now - self._last >= BETWEEN:
            self._last = now
            left = elapsed / done * (total - done) if done else None
            self._job.progress(done / total, left, "segmenting" if done < total else "finishing")
        self._job.check()


class Loading:
    """What a client is told while a model is fetched and loaded. Raises Cancelled when nobody waits for it any more."""

    def __init__(self, job: Job):
        self._job = job
        self._started: tuple[float, int] | None = None  # when, and how many bytes were there from an earlier attempt
        self._last = 0.0

    def say(self, sentence: str) -> None:
        """What is unusual, such as a backbone that is larger than the device."""
        self._job.log("warning", sentence)

    def downloaded(self, done: int, total: int) -> None:
        """So many bytes of a download are there."""
        self._job.check()
        now = time.monotonic()
        if self._started is None:
            self._started = now, done
        if done >= total > 0:
            self._job.progress(0.0, None, "loading")
        elif now - self._last >= BETWEEN:
            self._last = now
            since, before = self._started
            left = (now - since) / (done - before) * (total - done) if done > before else None
            self._job.progress(done / total if total else 0.0, left, "downloading")
