"""The engine as a command: python -m DinoUNetCore.worker. DinoUNetCore/engine/PROTOCOL.md says how to talk to it."""

import os
import sys
from argparse import RawDescriptionHelpFormatter
from collections.abc import Sequence

from DinoUNetCore.command_line import Parser, run


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until the client closes the engine's input or asks it to end."""
    Parser(
        prog="python -m DinoUNetCore.worker",
        formatter_class=RawDescriptionHelpFormatter,
        description="Segment for another program: read requests and voxels on standard input, write progress and\n"
        "segmentations on standard output. 3D Slicer starts it; any command that pipes to it will do, such as\n"
        "ssh HOST python -m DinoUNetCore.worker.",
        epilog="The environment variable DINOUNET_MODELS names the folder of models to use instead of the user's.\n"
        "The protocol is written down in DinoUNetCore/engine/PROTOCOL.md.",
    ).parse_args(arguments)
    if sys.stdin is not None and sys.stdin.isatty():
        print("The engine waits for a program to talk to it; end it with Ctrl-C.", file=sys.stderr)

    # The engine shares the computer with the program that it serves. By default OpenMP's threads wait for each other in
    # busy loops, which makes both many times slower where they compete for a core.
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")

    from DinoUNetCore.allocator import keep_freed_memory
    from DinoUNetCore.engine.server import serve

    keep_freed_memory()
    serve()


if __name__ == "__main__":
    run(main)
