"""Several processes that have joined as torchrun's do, for tests of what they do together."""

import inspect
import multiprocessing
import os
import runpy
import socket
from collections.abc import Callable
from typing import Any


def in_processes(count: int, job: Callable, *arguments) -> list[Any]:
    """What `job(processes, *arguments)` gives in each of `count` processes, by rank; SystemExit(code) where it ended.

    job: a function of a test file's top level. Arguments and results are pickled.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    tasks = [(rank, count, port, inspect.getfile(job), job.__name__, arguments) for rank in range(count)]
    with multiprocessing.get_context("spawn").Pool(count) as pool:  # a task waits for the others, so each gets its own
        return pool.starmap_async(_call, tasks, chunksize=1).get(timeout=240)


def _call(rank: int, count: int, port: int, file: str, name: str, arguments: tuple) -> Any:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "CUDA_VISIBLE_DEVICES": ""}
    import torch

    from DinoUNetCore.training.processes import joined

    torch.set_num_threads(1)
    job = runpy.run_path(file)[name]  # test files cannot be imported by name
    try:
        with joined() as processes:
            return job(processes, *arguments)
    except SystemExit as end:
        return end
