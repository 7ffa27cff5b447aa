"""PySide6 bent to PythonQt's rules, so that `import qt` behaves as it does inside 3D Slicer.

The rules (as PythonQt documents and shows them):
- A Q_PROPERTY is an attribute that shadows its getter: `button.text`, `bar.value = 3`; `button.text()` is a TypeError.
- Nothing can be added to a C++ object: an unknown attribute raises, on reading and on writing.
- Dynamic properties and children (by object name) are attributes, too.
- `object.connect("signal(types)", slot)` and `object.signal.connect(slot)`; a function or method is called with as many
  of the signal's arguments as it has parameters; what it raises is printed, here collected.
- Arguments are positional; enumerations are whole numbers.
"""
