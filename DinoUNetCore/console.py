"""What commands that take long show of themselves: lines, and a bar below them. tqdm is imported when it is needed."""

import sys


class progress_bar:  # noqa: N801 - used like a function
    """A tqdm bar as a callback progress(done, total), for code that knows nothing of bars."""

    def __init__(self, title: str):
        self.title = title
        self.bar = None

    def __enter__(self) -> "progress_bar":
        return self

    def __call__(self, done: int, total: int) -> None:
        if self.bar is None:
            from tqdm import tqdm

            self.bar = tqdm(total=total, desc=self.title, leave=False)
        self.bar.update(done - self.bar.n)

    def __exit__(self, *exception) -> None:
        if self.bar is not None:
            self.bar.close()


def say(text: str) -> None:
    """Print a line above any progress bar, at once also into files and pipes."""
    from tqdm import tqdm

    tqdm.write(text)
    sys.stdout.flush()
