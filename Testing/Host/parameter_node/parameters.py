"""One parameter: its type, validators and default, and how its value lies in the node."""

import enum
import json
import pathlib
import types
import typing
from typing import Annotated, Any, Union

import slicer

from Host.parameter_node.annotations import Default, IsInstance, NotNone, Validator

_SCALARS = (bool, int, float, str)
_MISSING = object()


class Parameter:
    """A declared parameter. `kind` is its type without annotations and without None, a tuple for a union of nodes."""

    def __init__(self, name: str, hint: Any, default: Any = _MISSING):
        self.name = name
        kind, self.annotations = _without_annotations(hint)
        self.kind, self.optional = _without_none(kind)
        self.is_node = _is_node(self.kind)
        self._element = Parameter(name, _element_hint(self.kind)) if _is_container(self.kind) else None
        self._check_supported()
        given = self.find(Default)
        if default is _MISSING:
            default = self._implicit_default() if given is None else given.make()
        self.default = default
        self._validators = [*self._type_validators(), *(a for a in self.annotations if isinstance(a, Validator))]

    def find(self, annotation: type) -> Any:
        """The first annotation of a class, or None."""
        return next((entry for entry in self.annotations if isinstance(entry, annotation)), None)

    def check(self, value: Any) -> None:
        """Raise ValueError or TypeError for a value that the parameter cannot have."""
        if value is None and (self.optional or self.is_node):
            return
        for validator in self._validators:
            validator.validate(value)
        if self._element is not None:
            for element in value.values() if isinstance(value, dict) else value:
                self._element.check(element)

    def is_stored(self, node) -> bool:
        """Whether the node has a value."""
        if self.is_node or self._of_nodes:
            return node.GetNumberOfNodeReferences(self.name) > 0
        return self.name in node.GetParameterNames()

    def write(self, node, value: Any) -> None:
        """Put a value into the node, which tells its observers if that changes something."""
        if self.is_node:
            node.SetNodeReferenceID(self.name, None if value is None else value.GetID())
        elif self._of_nodes:
            node.RemoveNodeReferenceIDs(self.name)
            for element in value:
                node.AddNodeReferenceID(self.name, element.GetID())
        else:
            node.SetParameter(self.name, self._text(value))

    def read(self, node) -> Any:
        """The value in the node."""
        if self.is_node:
            return node.GetNodeReference(self.name)
        if self._of_nodes:
            return [
                node.GetNthNodeReference(self.name, index) for index in range(node.GetNumberOfNodeReferences(self.name))
            ]
        return self._value(node.GetParameter(self.name))

    @property
    def _of_nodes(self) -> bool:
        return self._element is not None and self._element.is_node

    def _text(self, value: Any) -> str:
        if self.optional:
            return json.dumps(None if value is None else _plain(value))
        if isinstance(value, str):
            return value
        return json.dumps(_plain(value)) if self._element is not None else str(_plain(value))

    def _value(self, text: str) -> Any:
        if self._element is not None:
            return self._from_plain(json.loads(text))
        if self.optional:
            plain = json.loads(text)
            return None if plain is None else self._from_plain(plain)
        return self._from_plain(text)

    def _from_plain(self, plain: Any) -> Any:
        if isinstance(plain, dict):
            return {key: self._element._from_plain(value) for key, value in plain.items()}
        if self._element is not None:
            values = [self._element._from_plain(value) for value in plain]
            return tuple(values) if typing.get_origin(self.kind) is tuple else values
        if self.kind is bool:
            return str(plain) == "True"
        if issubclass(self.kind, enum.Enum):
            return self.kind[plain]
        return self.kind(plain)

    def _type_validators(self) -> list[Validator]:
        if self.is_node:
            return [IsInstance(self.kind)]
        if self.kind is float:
            return [NotNone(), IsInstance((float, int))]
        return [NotNone(), IsInstance(typing.get_origin(self.kind) or self.kind)]

    def _implicit_default(self) -> Any:
        if self.optional or self.is_node:
            return None
        if self._element is not None:
            return typing.get_origin(self.kind)()
        return next(iter(self.kind)) if issubclass(self.kind, enum.Enum) else self.kind()

    def _check_supported(self) -> None:
        known = self.is_node or self._element is not None
        if not known and not (isinstance(self.kind, type) and issubclass(self.kind, _SCALARS + _NAMED)):
            raise TypeError(f"parameter {self.name}: the host does not support the type {self.kind}")


_NAMED = (pathlib.PurePath, enum.Enum)


def _without_annotations(hint: Any) -> tuple[Any, list[Any]]:
    if typing.get_origin(hint) is Annotated:
        kind, *annotations = typing.get_args(hint)
        return kind, annotations
    return hint, []


def _without_none(kind: Any) -> tuple[Any, bool]:
    if typing.get_origin(kind) not in (Union, types.UnionType):
        return kind, False
    members = tuple(member for member in typing.get_args(kind) if member is not type(None))
    optional = len(members) < len(typing.get_args(kind))
    return (members[0] if len(members) == 1 else members), optional


def _is_node(kind: Any) -> bool:
    members = kind if isinstance(kind, tuple) else (kind,)
    return all(isinstance(member, type) and issubclass(member, slicer.vtkMRMLNode) for member in members)


def _is_container(kind: Any) -> bool:
    return typing.get_origin(kind) in (list, tuple, dict)


def _element_hint(kind: Any) -> Any:
    hints = {hint for hint in typing.get_args(kind) if hint is not Ellipsis}
    if typing.get_origin(kind) is dict:
        hints = {typing.get_args(kind)[1]}
    if len(hints) != 1:
        raise TypeError(f"the host supports containers of one type of elements only, not {kind}")
    return hints.pop()


def _plain(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, pathlib.PurePath):
        return str(value)
    if isinstance(value, dict):
        return {key: _plain(element) for key, element in value.items()}
    return [_plain(element) for element in value] if isinstance(value, (list, tuple)) else value
