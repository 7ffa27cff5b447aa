"""What can stand in Annotated[...] beside a parameter's type."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any


class Validator:
    """Base of the annotations that check a value."""

    def validate(self, value: Any) -> None:
        """Raise an exception if the value is not allowed."""
        raise NotImplementedError


class NotNone(Validator):
    """The value is not None."""

    def validate(self, value):
        if value is None:
            raise ValueError("Value must not be None")


@dataclass(frozen=True)
class IsInstance(Validator):
    """The value is of a class, or of one of several."""

    classtype: type | tuple[type, ...]

    def validate(self, value):
        if not isinstance(value, self.classtype):
            raise TypeError(f"Value must be of type {self.classtype}, is {type(value).__name__}")


@dataclass(frozen=True)
class Minimum(Validator):
    """The value is not smaller."""

    minimum: float

    def validate(self, value):
        if value < self.minimum:
            raise ValueError(f"Value must not be less than {self.minimum}, is {value}")


@dataclass(frozen=True)
class Maximum(Validator):
    """The value is not greater."""

    maximum: float

    def validate(self, value):
        if value > self.maximum:
            raise ValueError(f"Value must not be greater than {self.maximum}, is {value}")


@dataclass(frozen=True)
class WithinRange(Validator):
    """The value lies between two numbers, both allowed."""

    minimum: float
    maximum: float

    def validate(self, value):
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"Value must be within range [{self.minimum}, {self.maximum}], is {value}")


class Choice(Validator):
    """The value is one of several."""

    def __init__(self, choices: Iterable[Any]):
        self.choices = list(choices)

    def validate(self, value):
        if value not in self.choices:
            raise ValueError(f"Value must be one of {self.choices}, is {value!r}")


class Exclude(Validator):
    """The value is none of several."""

    def __init__(self, choices: Iterable[Any]):
        self.choices = list(choices)

    def validate(self, value):
        if value in self.choices:
            raise ValueError(f"Value must not be one of {self.choices}, is {value!r}")


@dataclass(frozen=True)
class Default:
    """The value of a parameter that the node does not have yet, or a function that makes it."""

    value: Any = None
    generator: Callable[[], Any] | None = None

    def make(self) -> Any:
        """The value."""
        return self.value if self.generator is None else self.generator()


@dataclass(frozen=True)
class Decimals:
    """Decimals that the bound widget shows."""

    value: int


@dataclass(frozen=True)
class SingleStep:
    """The step of the bound widget."""

    value: float
