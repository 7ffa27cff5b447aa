"""The real MRML of the wheel slicer-core, set up as the application does it."""
