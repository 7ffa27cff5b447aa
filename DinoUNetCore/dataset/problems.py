"""What is wrong with a data set, collected from all its files, so that it can be mended in one go."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from DinoUNetCore.errors import UserError

MOST_SHOWN = 50


class DatasetProblems(UserError):  # noqa: N818 - the field's own words
    """All that is wrong with a data set, one sentence each. Its text is the only sentence, or a list of them."""

    def __init__(self, sentences: Sequence[str]):
        super().__init__(list(sentences))

    @property
    def sentences(self) -> list[str]:
        return self.args[0]

    def __str__(self) -> str:
        if len(self.sentences) == 1:
            return self.sentences[0]
        left = len(self.sentences) - MOST_SHOWN
        shown = self.sentences[:MOST_SHOWN] + ([f"... and {left} more."] if left > 0 else [])
        return "\n".join([f"the data set has {len(self.sentences)} problems; mend these first:", *shown])


class Problems:
    """Collects sentences while checks go on, and refuses the data set once all have been heard."""

    def __init__(self) -> None:
        self.sentences: list[str] = []

    def add(self, sentence: str) -> None:
        self.sentences.append(sentence)

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Take a UserError of the block for a problem, and go on behind the block."""
        try:
            yield
        except DatasetProblems as problems:
            self.sentences += problems.sentences
        except UserError as error:
            self.add(str(error))

    def refuse(self) -> None:
        """Raise `DatasetProblems` if there are any."""
        if self.sentences:
            raise DatasetProblems(self.sentences)
