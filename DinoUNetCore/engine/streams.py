"""The engine's two pipes: taken out of reach of everything else in the process."""

import os
import sys


def take_over() -> tuple[int, int]:
    """Private binary descriptors for what were standard input and standard output: (input, output).

    From then on whatever reads standard input finds it empty, and whatever is written to standard output, by Python or
    by a C++ library, ends on standard error. A DLL that looks at standard input while it is loaded would also wait on
    Windows for as long as another thread reads there.
    """
    incoming, outgoing = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    try:
        os.dup2(2, 1)
    except OSError:  # there is no standard error
        os.dup2(nothing, 1)
        os.dup2(nothing, 2)
    os.close(nothing)
    if sys.platform == "win32":
        import msvcrt

        for descriptor in (incoming, outgoing):
            msvcrt.setmode(descriptor, os.O_BINARY)
    return incoming, outgoing
