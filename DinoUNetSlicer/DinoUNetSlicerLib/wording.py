"""What is said of a run: what is being done, how long it takes, and what came of it."""

import time

from DinoUNetCore.durations import in_words
from DinoUNetSlicerLib.segmentations import Result

LONG = 30.0  # seconds; of runs that take longer it is said how long they take in all

_STAGES = {"downloading": "downloading the backbone (once)"}  # others are shown as the engine calls them
_SEGMENTING = "segmenting"
_CHANGE = 0.2  # of the expected time, below which it stays as it was first said


class Expectation:
    """How long the work of one run takes in all, known from its first blocks on."""

    def __init__(self):
        self._began: float | None = None
        self._seconds = 0.0

    def in_all(self, seconds_left: float | None, stage: str) -> str:
        """ "about 6 minutes in all" as far as is known now, or nothing. seconds_left, stage: of the last progress."""
        if stage != _SEGMENTING:
            return ""
        now = time.monotonic()
        if self._began is None:
            self._began = now
        if seconds_left is not None:
            expected = now - self._began + seconds_left
            if abs(expected - self._seconds) > _CHANGE * self._seconds:
                self._seconds = expected
        return f"about {in_words(self._seconds)} in all" if self._seconds > LONG else ""


def doing(stage: str) -> str:
    """A stage of the protocol in the panel's words."""
    text = _STAGES.get(stage, stage)
    return f"{text[:1].upper()}{text[1:]} ..."


def time_left(seconds: float | None) -> str:
    """ "about 2 min left", or nothing where it is not known."""
    return "" if seconds is None else f"about {_duration(max(1.0, seconds))} left"


def verdict(result: Result) -> str:
    """The outcome in a sentence or two: what was found, and about the rest how probable it looked."""
    found = [label.name for label in result.structures if label.value in result.found]
    missing = [label.name for label in result.structures if label.value not in result.found]
    highest = result.facts.get("highest") or {}
    seconds = result.facts.get("seconds")
    time_taken = f" in {_duration(seconds)}" if seconds else ""
    if not found:
        best = max(highest.items(), key=lambda item: item[1], default=None)
        seen = f" The highest probability seen was {best[1]:.0%}, for {best[0]}." if best else ""
        searched = " x ".join(str(stop - start) for start, stop in result.region)
        return (
            f"Nothing was found in the {searched} voxels searched{time_taken}.{seen} "
            "Is this an image of the kind that the model was trained on?"
        )
    text = f"Found {_counted(found)}{time_taken}."
    if missing:
        described = [f"{name} (at most {highest[name]:.0%} probable)" if name in highest else name for name in missing]
        text += f" Not found: {', '.join(described)}."
    return text


def _counted(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{len(names)} structures"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
