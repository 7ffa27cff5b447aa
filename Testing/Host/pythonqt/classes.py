"""Classes of Qt, and doubles of C++ classes, bent to PythonQt's rules for attributes."""

import functools
import inspect
import types
from collections.abc import Iterator
from contextlib import contextmanager

import shiboken6
from PySide6 import QtCore

from Host.pythonqt.properties import QtProperty, StaticallySharedProperty, converted
from Host.pythonqt.signals import QtSignal, connect, disconnect

_QObject = QtCore.QObject
_object_name = _QObject.objectName
_find_children = _QObject.findChildren
_inherits = _QObject.inherits
_meta_object = _QObject.metaObject
_property = _QObject.property
_set_property = _QObject.setProperty
_set = _QObject.__setattr__
_dynamic_names = _QObject.dynamicPropertyNames

_cpp_classes: set[type] = set()
_ignoring = False


def bend(classes: list[type]) -> None:
    """Apply the rules to classes of PySide6, bases and all, once."""
    _QObject.className = lambda self: _meta_object(self).className()
    _QObject.delete = lambda self: shiboken6.delete(self)
    _QObject.findChildren, _QObject.findChild = find_children, find_child
    for kind in sorted(set(classes), key=lambda kind: len(kind.__mro__)):
        _cpp_classes.add(kind)
        _add_descriptors(kind)
        if kind is not _QObject:  # on QObject itself the original functions must stay reachable
            _make_strict(kind)
            _refuse_keywords(kind)
    _QObject.name = QtProperty(_QObject.staticMetaObject.property(0), _object_name)


def double(kind: type) -> type:
    """Decorator: a double of a C++ class, written in Python over a class of Qt. The same rules count for it."""
    _cpp_classes.add(kind)
    _bend_signals(kind)
    if _QObject in kind.__bases__:
        _make_strict(kind)
    if "__init__" in vars(kind):
        _refuse_keywords(kind)
    return kind


@contextmanager
def ignoring_new_attributes() -> Iterator[None]:
    """PySide6's loader of .ui files makes every child an attribute of the top widget, which PythonQt's does not."""
    global _ignoring
    _ignoring = True
    try:
        yield
    finally:
        _ignoring = False


def find_children(self, kind=_QObject, name: str = "") -> list:
    """All descendants of a class, or of the class with a name, as PythonQt takes both."""
    found = _find_children(self, _QObject if isinstance(kind, str) else kind)
    if isinstance(kind, str):
        found = [child for child in found if _inherits(child, kind) or type(child).__name__ == kind]
    return [child for child in found if not name or _object_name(child) == name]


def find_child(self, kind=_QObject, name: str = ""):
    """The first descendant of a class, or of the class with a name; None if there is none."""
    return next(iter(find_children(self, kind, name)), None)


def _add_descriptors(kind: type) -> None:
    meta = kind.staticMetaObject
    for index in range(meta.propertyCount()):
        entry = meta.property(index)
        name = entry.name()
        if index < meta.propertyOffset() and name not in vars(kind):
            continue  # inherited, and not hidden by a method of this class
        getter = getattr(kind, name, None)
        if name == "singleShot":
            setattr(kind, name, StaticallySharedProperty(entry, getter))
        else:
            setattr(kind, name, QtProperty(entry, getter if callable(getter) else None))
    _bend_signals(kind)


def _bend_signals(kind: type) -> None:
    for name, value in list(vars(kind).items()):
        if type(value) is QtCore.Signal:
            setattr(kind, name, QtSignal(value, name))


def _make_strict(kind: type) -> None:
    kind.__setattr__ = _set_attribute  # every class of PySide6 has one of its own
    if _QObject in kind.__bases__ or "__getattribute__" in vars(kind):
        original = kind.__getattribute__

        def get_attribute(self, name):
            # PySide6 looks up `connect` in a way of its own, so that replacing it in the class is not enough.
            if name in _HOOKS and name not in vars(type(self)):
                return types.MethodType(_HOOKS[name], self)
            return original(self, name)

        kind.__getattribute__ = get_attribute
        kind.__getattr__ = _missing_attribute


_HOOKS = {"connect": connect, "disconnect": disconnect}


def _refuse_keywords(kind: type) -> None:
    original = kind.__init__

    @functools.wraps(original, updated=())
    def initialize(self, *arguments, **keywords):
        if keywords:
            raise TypeError(f"{kind.__name__} takes no keyword arguments: {', '.join(keywords)}")
        original(self, *arguments)

    kind.__init__ = initialize


def _set_attribute(self, name: str, value) -> None:
    kind = type(self)
    attribute = inspect.getattr_static(kind, name, None)
    if isinstance(attribute, QtCore.Property):  # of a double
        meta = _meta_object(self)
        entry = meta.property(meta.indexOfProperty(name))
        _set(self, name, converted(entry, value, kind.__name__))
    elif hasattr(type(attribute), "__set__"):
        attribute.__set__(self, value)
    elif name.startswith("_host_"):
        _set(self, name, value)
    elif name in _dynamic(self):
        _set_property(self, name, value)
    elif kind not in _cpp_classes:
        _set(self, name, value)
    elif _ignoring:
        return
    elif attribute is not None:
        raise AttributeError(f"Slot '{name}' can not be overwritten on {kind.__name__} object")
    else:
        raise AttributeError(
            f"'{name}' does not exist on {kind.__name__} and creating new attributes on C++ objects is not allowed"
        )


def _missing_attribute(self, name: str):
    if not name.startswith("_"):
        if name in _dynamic(self):
            return _property(self, name)
        for child in self.children():
            if _object_name(child) == name:
                return child
    raise AttributeError(f"{type(self).__name__} has no attribute named '{name}'")


def _dynamic(self) -> list[str]:
    return [bytes(name).decode() for name in _dynamic_names(self)]
