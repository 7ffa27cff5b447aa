"""A double of slicer.parameterNodeWrapper, after the developer guide's chapter on parameter nodes.

Supported: int, float, str, bool, pathlib paths, enumerations, MRML nodes, Optional of these, Union of node types, and
list, tuple and dict of them; defaults, validators, and binding to widgets. Parameter packs and custom classes are not.
"""

from Host.parameter_node.annotations import (
    Choice,
    Decimals,
    Default,
    Exclude,
    IsInstance,
    Maximum,
    Minimum,
    NotNone,
    SingleStep,
    Validator,
    WithinRange,
)
from Host.parameter_node.wrapper import parameterNodeWrapper

__all__ = [
    "Choice",
    "Decimals",
    "Default",
    "Exclude",
    "IsInstance",
    "Maximum",
    "Minimum",
    "NotNone",
    "SingleStep",
    "Validator",
    "WithinRange",
    "parameterNodeWrapper",
]
