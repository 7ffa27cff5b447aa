"""Signals and slots by PythonQt's rules."""

import functools
import inspect
from collections.abc import Callable

from PySide6 import QtCore

from Host.faults import slot_failed

_connect = QtCore.QObject.connect
_disconnect = QtCore.QObject.disconnect
_meta_object = QtCore.QObject.metaObject


class UnknownSignalError(RuntimeError):
    """A signal that the object does not have. (PythonQt only prints this, and connects nothing.)"""


def argument_count(slot: Callable) -> int | None:
    """How many arguments PythonQt hands to a slot: a function's or method's parameters; None means all there are."""
    function, bound = (slot.__func__, 1) if inspect.ismethod(slot) else (slot, 0)
    if not inspect.isfunction(function) or function.__code__.co_flags & inspect.CO_VARARGS:
        return None
    return function.__code__.co_argcount - bound


def guarded(slot: Callable) -> Callable:
    """The slot as PythonQt calls it: arguments cut to its parameters, exceptions collected instead of raised."""
    count = argument_count(slot)

    def call(*arguments):
        try:
            slot(*arguments[:count])
        except Exception as error:
            slot_failed(error)

    return call


class Connections:
    """The slots that are connected to one signal of one object: (slot, the callable that Qt was given)."""

    @staticmethod
    def of(owner: QtCore.QObject, signature: str) -> list[tuple[Callable, Callable]]:
        """The list, which the object itself keeps."""
        return owner.__dict__.setdefault("_host_connections", {}).setdefault(signature, [])


class QtSignal:
    """The attribute of a signal of Qt: an object with connect, disconnect and emit."""

    def __init__(self, signal: QtCore.Signal, name: str):
        self.signal, self.name = signal, name

    def __get__(self, owner, kind=None):
        if owner is None:
            return self.signal
        return BoundSignal(owner, _signature(owner, self.name), self.signal.__get__(owner, kind).emit)

    def __set__(self, owner, value):
        if not isinstance(value, QtCore.SignalInstance):  # PySide6 keeps the bound signal on the object
            raise AttributeError(f"Signal '{self.name}' can not be overwritten on {type(owner).__name__} object")


class HostSignal:
    """A signal of a double whose arguments Qt cannot carry (VTK objects), for example "nodeAdded(vtkMRMLNode*)".

    Several signatures are overloads; the attribute stands for the first one.
    """

    def __init__(self, *signatures: str):
        self.signatures = signatures

    def __set_name__(self, kind, name):
        self.name = name

    def __get__(self, owner, kind=None):
        if owner is None:
            return self
        return self.overload(owner, self.signatures[0])

    def __set__(self, owner, value):
        raise AttributeError(f"Signal '{self.name}' can not be overwritten on {type(owner).__name__} object")

    def overload(self, owner, signature: str) -> "BoundSignal":
        """The signal of one signature."""
        return BoundSignal(owner, signature, functools.partial(self._emit, owner, signature))

    @staticmethod
    def _emit(owner, signature, *arguments):
        if not owner.signalsBlocked():
            for _, call in list(Connections.of(owner, signature)):
                call(*arguments)


class BoundSignal:
    """`object.signal`: also callable, which emits."""

    def __init__(self, owner, signature: str, emit: Callable):
        self._owner, self._signature, self.emit = owner, signature, emit

    def connect(self, slot: Callable) -> bool:
        """Call the slot whenever the signal is emitted."""
        return connect(self._owner, self._signature, slot)

    def disconnect(self, slot: Callable | None = None) -> bool:
        """Whether something was disconnected: the slot, or all without one."""
        return disconnect(self._owner, self._signature, slot)

    def __call__(self, *arguments):
        self.emit(*arguments)


def connect(sender, signature: str, receiver, method: str | None = None) -> bool:
    """`sender.connect("signal(types)", slot)` or `sender.connect("signal(types)", receiver, "slot(types)")`.

    Raises UnknownSignalError, where PythonQt prints that the signal does not exist.
    """
    signature, host_signal = _find(sender, signature)
    slot = receiver if method is None else getattr(receiver, method.split("(")[0])
    if not callable(slot):
        raise TypeError(f"{signature} cannot be connected to {slot!r}: it is not callable")
    call = guarded(slot)
    if host_signal is None:
        _connect(sender, "2" + signature, call)
    Connections.of(sender, signature).append((slot, call))
    return True


def disconnect(sender, signature: str, receiver=None, method: str | None = None) -> bool:
    """Whether something was disconnected: one connection of the slot, or all of the signal without a slot."""
    signature, host_signal = _find(sender, signature)
    slot = receiver if method is None else getattr(receiver, method.split("(")[0])
    connections = Connections.of(sender, signature)
    gone = [pair for pair in connections if slot is None or pair[0] == slot][: None if slot is None else 1]
    for pair in gone:
        if host_signal is None:
            _disconnect(sender, "2" + signature, pair[1])
        connections.remove(pair)
    return bool(gone)


def _find(sender, signature: str) -> tuple[str, HostSignal | None]:
    normalized = bytes(QtCore.QMetaObject.normalizedSignature(signature)).decode()
    attribute = inspect.getattr_static(type(sender), normalized.split("(")[0], None)
    if isinstance(attribute, HostSignal) and normalized in attribute.signatures:
        return normalized, attribute
    if _meta_object(sender).indexOfSignal(normalized) < 0:
        raise UnknownSignalError(f"signal '{signature}' does not exist on {type(sender).__name__}")
    return normalized, None


def _signature(owner, name: str) -> str:
    meta = _meta_object(owner)
    methods = (meta.method(index) for index in range(meta.methodCount()))
    signals = (method for method in methods if method.methodType() == QtCore.QMetaMethod.Signal)
    return next(bytes(m.methodSignature()).decode() for m in signals if bytes(m.name()).decode() == name)
