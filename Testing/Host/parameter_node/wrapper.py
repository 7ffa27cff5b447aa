"""parameterNodeWrapper: a class whose annotated attributes live in a vtkMRMLScriptedModuleNode."""

# ruff: noqa: N802, N803  # the names are those of Slicer, CTK or Qt

import typing
from typing import Any

from Host.parameter_node.bindings import Binding, bind
from Host.parameter_node.parameters import Parameter

PROPERTY = "SlicerParameterName"
_MISSING = object()
_MUTATORS = ("append", "extend", "insert", "remove", "pop", "clear", "sort", "reverse")
_OPERATORS = ("__setitem__", "__delitem__", "__iadd__", "__imul__")


def parameterNodeWrapper(cls: type) -> type:
    """Class decorator. The class then wraps a node: `Parameters(node)`; attributes are the annotated ones.

    A value is validated, written into the node (so it is saved with the scene) and cached: what is written into the
    node directly is not seen. Node references are never cached.
    """
    hints = typing.get_type_hints(cls, include_extras=True)
    arguments = {name: (hint, getattr(cls, name, _MISSING)) for name, hint in hints.items()}
    parameters = {
        name: Parameter(name, hint) if default is _MISSING else Parameter(name, hint, default)
        for name, (hint, default) in arguments.items()
    }
    members = {name: value for name, value in vars(cls).items() if name not in ("__dict__", "__weakref__")}
    members |= {name: _attribute(parameter) for name, parameter in parameters.items()}
    return type(cls.__name__, (_Wrapper,), members | {"_parameters": parameters})


class _Wrapper:
    _parameters: dict[str, Parameter]

    def __init__(self, parameterNode):
        object.__setattr__(self, "parameterNode", parameterNode)
        self._cache: dict[str, Any] = {}
        self._connections: dict[int, list] = {}
        self._last_tag = 0
        for parameter in self._parameters.values():
            if not parameter.is_stored(parameterNode):
                parameter.check(parameter.default)
                parameter.write(parameterNode, parameter.default)

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_") and not hasattr(type(self), name):
            raise AttributeError(f"{type(self).__name__} has no parameter named {name}")
        object.__setattr__(self, name, value)

    def AddObserver(self, event, callback, priority=0.0) -> int:
        """Observe the node."""
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag: int) -> None:
        """Stop observing the node."""
        self.parameterNode.RemoveObserver(tag)

    def connectGui(self, gui) -> None:
        """Bind all widgets of `gui` (an object with them as attributes) that have the property SlicerParameterName.

        Returns nothing, as Slicer's does: only connectParametersToGui can be undone.

        Raises RuntimeError for a name that is no parameter, for a widget that cannot
        show such a parameter, and for a parameter that is named twice.
        """
        named = {}
        for widget in vars(gui).values():
            name = widget.property(PROPERTY) if hasattr(widget, "property") else None
            if name:
                if name in named:
                    raise RuntimeError(f"parameter {name} is bound to two widgets")
                named[name] = widget
        self.connectParametersToGui(named)

    def connectParametersToGui(self, mapping: dict) -> int:
        """Bind parameters by name to widgets. The widgets show the parameters' values at once."""
        unknown = [name for name in mapping if name not in self._parameters]
        if unknown:
            raise RuntimeError(f"{type(self).__name__} has no parameter named {', '.join(unknown)}")
        bindings = {name: bind(widget, self._parameters[name]) for name, widget in mapping.items()}

        def show(caller=None, event=None) -> None:
            for name, binding in bindings.items():
                value = getattr(self, name)
                if binding.read() != value:
                    binding.write(value)

        show()
        for name, binding in bindings.items():
            binding.on_change(self._taking(name, binding))
        self._last_tag += 1
        self._connections[self._last_tag] = [bindings, self.AddObserver("ModifiedEvent", show)]
        return self._last_tag

    def disconnectGui(self, tag: int) -> None:
        """Undo one connectParametersToGui; nothing happens for a tag that is not known."""
        if tag not in self._connections:
            return
        bindings, observer = self._connections.pop(tag)
        self.RemoveObserver(observer)
        for binding in bindings.values():
            binding.release()

    def _taking(self, name: str, binding: Binding):
        return lambda: setattr(self, name, binding.read())

    def _get(self, parameter: Parameter) -> Any:
        if parameter.is_node:
            return parameter.read(self.parameterNode)
        if parameter.name not in self._cache:
            self._cache[parameter.name] = self._observed(parameter, parameter.read(self.parameterNode))
        return self._cache[parameter.name]

    def _set(self, parameter: Parameter, value: Any) -> None:
        parameter.check(value)
        self._cache[parameter.name] = self._observed(parameter, value)
        parameter.write(self.parameterNode, value)

    def _observed(self, parameter: Parameter, value: Any) -> Any:
        if not isinstance(value, list):
            return value
        return ObservedList(value, lambda changed: self._set(parameter, list(changed)))


class ObservedList(list):
    """A list that tells when it is changed, so that `parameters.names.append("x")` reaches the node."""

    def __init__(self, values, changed):
        super().__init__(values)
        self._changed = changed


def _telling(name: str):
    change = getattr(list, name)

    def method(self, *arguments, **keywords):
        result = change(self, *arguments, **keywords)
        self._changed(self)
        return result

    return method


for _name in _MUTATORS + _OPERATORS:
    setattr(ObservedList, _name, _telling(_name))


def _attribute(parameter: Parameter) -> property:
    return property(lambda self: self._get(parameter), lambda self, value: self._set(parameter, value))
