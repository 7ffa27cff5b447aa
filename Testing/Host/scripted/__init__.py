"""Scripted modules: the Python base classes, and the C++ objects around them."""
