"""Properties of doubles that need no code of their own."""

from PySide6 import QtCore


def stored(name: str, kind, default, notify: str = ""):
    """A Qt property that remembers what it is set to, and emits the signal named by `notify` when that changes."""
    key = "_host_" + name

    def get(self):
        return self.__dict__.get(key, default)

    def set_value(self, value):
        changed = value != get(self)
        self.__dict__[key] = value
        if changed and notify:
            getattr(self, notify).emit(value)

    return QtCore.Property(kind, get, set_value)


def handed_on(kind, part: str, name: str, then: str = ""):
    """A Qt property that is the property of a part (an attribute); `then` names a method to call after a change."""

    def get(self):
        return getattr(getattr(self, part), name)

    def set_value(self, value):
        setattr(getattr(self, part), name, value)
        if then:
            getattr(self, then)()

    return QtCore.Property(kind, get, set_value)
