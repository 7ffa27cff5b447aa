"""Doubles of the widgets of CTK and Slicer: the properties, slots, invokable methods and signals of the real ones.

Other public methods of the C++ classes cannot be called from Python in Slicer, so the doubles do not have them.
"""
