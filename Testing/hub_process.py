"""Calls functions of DinoUNetCore.weights.hub in a process of its own, whose environment names a HubStub.

    with HubProcess(hub.environment(home)) as process:
        answer = process.call("fetch_backbone", "vit_small")

It is one process for many calls, because the hub's library takes a while to start. In the process this file is the
program: it reads calls and writes what comes of them, one line of JSON each.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, is_dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Answer:
    """What came of a call: a result (paths as text), or an error's type and text. progress: what was reported."""

    result: Any = None
    error: str = ""
    text: str = ""
    progress: list[list[int]] = field(default_factory=list)


class HubProcess:
    """The process, as its parent sees it. environment: variables on top of the parent's own."""

    def __init__(self, environment: dict[str, str]):
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            env={**os.environ, "PYTHONIOENCODING": "utf-8", **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )

    def __enter__(self) -> "HubProcess":
        return self

    def __exit__(self, *_: Any) -> None:
        self._process.communicate(timeout=60)

    def call(
        self,
        function: str,
        *arguments: Any,
        environment: dict[str, str] | None = None,
        on_progress: Callable[[], None] | None = None,
    ) -> Answer:
        """Call a function with this environment. on_progress: called here for each report of a fetch."""
        request = {"function": function, "arguments": arguments, "environment": environment or {}}
        print(json.dumps(request, default=str), file=self._process.stdin, flush=True)
        progress = []
        for line in self._process.stdout:
            answer = json.loads(line)
            if "progress" not in answer:
                return Answer(**answer, progress=progress)
            progress.append(answer["progress"])
            if on_progress is not None:
                on_progress()
        return Answer(error="ended", progress=progress)

    def kill(self) -> None:
        """End it at once, whatever it does."""
        self._process.kill()
        self._process.wait()


def main() -> None:
    from DinoUNetCore.weights import hub

    functions = {**vars(hub), "limit_file_size": _limit_file_size, "loaded": lambda name: name in sys.modules}
    before = dict(os.environ)
    for line in sys.stdin:
        request = json.loads(line)
        function, arguments = functions[request["function"]], request["arguments"]
        arguments = [Path(value) if isinstance(value, str) and os.path.isabs(value) else value for value in arguments]
        options = {"progress": _report} if request["function"].startswith("fetch_") else {}
        os.environ.update(request["environment"])
        try:
            answer = {"result": function(*arguments, **options)}
        except Exception as error:
            answer = {"error": type(error).__name__, "text": str(error)}
        os.environ.clear()
        os.environ.update(before)
        print(json.dumps(answer, default=_plain), flush=True)


def _plain(value: Any) -> Any:
    return asdict(value) if is_dataclass(value) else str(value)


def _report(done: int, total: int) -> None:
    print(json.dumps({"progress": [done, total]}), flush=True)


def _limit_file_size(size: int | None) -> None:
    """As if the disk were full beyond so many bytes of a file; None for no limit. POSIX only."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard if size is None else size, hard))


if __name__ == "__main__":
    main()
