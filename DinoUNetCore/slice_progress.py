"""What the command that segments shows while slices go through the network."""

import sys
import time

from DinoUNetCore.console import progress_bar, say
from DinoUNetCore.durations import in_words

LONG = 30.0  # seconds; a run on a CPU that takes longer is announced


class SliceProgress(progress_bar):
    """A bar with the time left; on a CPU, a line with the expected time if it is long.

    Called as progress(slices done, slices in all), first when the work begins.
    """

    def __init__(self, title: str, on_cpu: bool):
        super().__init__(title, "slice", hidden=None)
        self._announces = on_cpu
        self._started = 0.0

    def __call__(self, done: int, total: int) -> None:
        if self.bar is None:
            self._started = time.monotonic()
        elif self._announces and done:
            self._announces = False
            expected = (time.monotonic() - self._started) * total / done
            if expected > LONG and done < total:
                say(f"{self.title}: this will take about {in_words(expected)} on this computer's CPU.", sys.stderr)
        super().__call__(done, total)
