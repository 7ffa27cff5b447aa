"""What commands that take long show of themselves: lines, and a bar below them. tqdm is imported when it is needed."""

import sys
from typing import TextIO


class progress_bar:  # noqa: N801 - used like a function
    """A tqdm bar as a callback progress(done, total), for code that knows nothing of bars.

    unit: what is counted. hidden: None where there is no terminal.
    """

    def __init__(self, title: str, unit: str = "it", hidden: bool | None = False):
        self.title, self.unit, self.hidden = title, unit, hidden
        self.bar = None

    def __enter__(self) -> "progress_bar":
        return self

    def __call__(self, done: int, total: int) -> None:
        if self.bar is None:
            from tqdm import tqdm

            self.bar = tqdm(total=total, desc=self.title, unit=self.unit, leave=False, disable=self.hidden)
        self.bar.update(done - self.bar.n)

    def __exit__(self, *exception) -> None:
        if self.bar is not None:
            self.bar.close()


def say(text: str, file: TextIO | None = None) -> None:
    """Print a line above any progress bar, at once also into files and pipes. file: None for standard output."""
    from tqdm import tqdm

    file = sys.stdout if file is None else file
    tqdm.write(text, file=file)
    file.flush()


def warn(sentence: str) -> None:
    """Print a warning, as `say` does, to standard error."""
    say(f"warning: {sentence}", sys.stderr)
