"""Q_PROPERTYs as attributes."""

from PySide6 import QtCore

_get = QtCore.QObject.property
_set = QtCore.QObject.setProperty

_NUMBERS = {"bool": bool, "int": int, "uint": int, "qlonglong": int, "qulonglong": int, "double": float, "float": float}


class QtProperty:
    """A property of a class of Qt. It shadows the getter of the same name, which it reads through."""

    def __init__(self, meta: QtCore.QMetaProperty, getter=None):
        self._meta, self._getter = meta, getter

    def __get__(self, owner, kind=None):
        if owner is None:
            return self
        return self._getter(owner) if self._getter else _get(owner, self._meta.name())

    def __set__(self, owner, value):
        value = converted(self._meta, value, type(owner).__name__)
        if not _set(owner, self._meta.name(), value):
            raise _refusal(self._meta, value, type(owner).__name__)


class StaticallySharedProperty(QtProperty):
    """A property whose name a static function has, too (QTimer's singleShot): the class has the function."""

    def __init__(self, meta: QtCore.QMetaProperty, function):
        super().__init__(meta)
        self.function = function

    def __get__(self, owner, kind=None):
        return self.function if owner is None else super().__get__(owner, kind)


def converted(meta: QtCore.QMetaProperty, value, owner: str):
    """The value as PythonQt would hand it to the property: numbers from numbers, text from anything.

    Raises AttributeError where the property cannot be written or does not take such a value.
    """
    kind = meta.typeName()
    if not meta.isWritable():
        raise AttributeError(f"Property '{meta.name()}' of {owner} object is not writable")
    if kind in _NUMBERS:
        if not (hasattr(value, "__index__") or hasattr(value, "__float__")):
            raise _refusal(meta, value, owner)
        return _NUMBERS[kind](value)
    if kind == "QString":
        return value if isinstance(value, str) else str(value)
    if kind == "QStringList":
        if not isinstance(value, (list, tuple)):
            raise _refusal(meta, value, owner)
        return list(value)
    return value


def _refusal(meta: QtCore.QMetaProperty, value, owner: str) -> AttributeError:
    return AttributeError(
        f"Property '{meta.name()}' of type '{meta.typeName()}' of {owner} does not accept an object of type "
        f"{type(value).__name__} ({value!r})"
    )
