"""The engine: a process that segments for another program, through pipes. PROTOCOL.md says how they talk."""
