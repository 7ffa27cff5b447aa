"""Slice views and a 3D view: their nodes and logics, and pictures of them through Slicer's displayable managers."""
