"""Putting the doubles where Slicer has the real ones: ctk, slicer.<class>, slicer.<module>."""

import sys
import types

import slicer

from Host import packaging_double, parameter_node
from Host.scripted import base_classes
from Host.widgets import collapsible_button, mrml_widgets, node_combo_box, path_widgets, slider_widget
from Host.widgets.registry import DOUBLES

WIDGET_MODULES = (collapsible_button, mrml_widgets, node_combo_box, path_widgets, slider_widget)
"""Imported, so that their classes are registered."""

_BASE_CLASSES = (
    "ScriptedLoadableModule",
    "ScriptedLoadableModuleWidget",
    "ScriptedLoadableModuleLogic",
    "ScriptedLoadableModuleTest",
)


def install() -> None:
    """Make `import ctk` and the modules of the package slicer work, and the classes attributes of slicer."""
    ctk = sys.modules["ctk"] = types.ModuleType("ctk", "Doubles of CTK's classes.")
    for name, kind in DOUBLES.items():
        setattr(ctk if name.startswith("ctk") else slicer, name, kind)
    _add("ScriptedLoadableModule", {name: getattr(base_classes, name) for name in _BASE_CLASSES})
    _add("parameterNodeWrapper", {name: getattr(parameter_node, name) for name in parameter_node.__all__})
    _add("i18n", {"tr": lambda text: text, "translate": lambda context, text: text})
    _add("packaging", {name: getattr(packaging_double, name) for name in packaging_double.FUNCTIONS})


def _add(name: str, members: dict) -> None:
    module = types.ModuleType(f"slicer.{name}")
    vars(module).update(members)
    sys.modules[module.__name__] = module
    setattr(slicer, name, module)
