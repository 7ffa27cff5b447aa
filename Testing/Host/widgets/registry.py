"""Which classes of ctk and Slicer the host stands in for, by name."""

from Host.pythonqt.classes import double

DOUBLES: dict[str, type] = {}


def stands_in(kind: type) -> type:
    """Decorator: this class is the double of the C++ class of the same name."""
    DOUBLES[kind.__name__] = double(kind)
    return kind


def find_double(name: str) -> type | None:
    """The double of a class; None where there is none (the classes of Qt need none)."""
    return DOUBLES.get(name)
