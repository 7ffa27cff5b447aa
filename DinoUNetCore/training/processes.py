"""Several processes that work on one thing, as `torchrun` starts them on one machine or many.

With one process nothing here touches torch.distributed, and every function does the obvious.
"""

import datetime
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil
import torch
import torch.distributed as dist
from torch import Tensor

from DinoUNetCore.device import choose_device
from DinoUNetCore.errors import Terminated, UserError
from DinoUNetCore.training.meeting import agree_on_name

Result = TypeVar("Result")

PATIENCE = datetime.timedelta(days=7)
"""How long processes wait for each other: the first may prepare a large data set. torchrun notices those that died."""


class AgreedError(UserError):
    """A UserError that all processes raise together."""


@dataclass(frozen=True)
class Processes:
    """This process among all. rank: its number, from 0. local_rank: its number on this machine.

    All but `share` and the properties must be called by every process, in the same order.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0

    @property
    def first(self) -> bool:
        """Whether this one writes the files and talks to the user."""
        return self.rank == 0

    def total(self, tensor: Tensor) -> Tensor:
        """The sum of a tensor over all processes. Differentiable: of what every process makes of it, together."""
        return tensor if self.count == 1 else _total(tensor)

    def any(self, flag: bool) -> bool:
        """Whether it holds in any process."""
        return flag if self.count == 1 else self.total(torch.tensor(int(flag))).item() > 0

    def share(self, items: Sequence) -> Sequence:
        """This process's part of a sequence: contiguous, with sizes that differ by 1 at most, the longer ones first."""
        size, longer = divmod(len(items), self.count)
        start = self.rank * size + min(self.rank, longer)
        return items[start : start + size + (self.rank < longer)]

    def gather(self, value: Result) -> list[Result]:
        """What each process gave, by rank; anything that can be pickled."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        dist.all_gather_object(values, value)
        return values

    def first_decides(self, function: Callable[[], Result]) -> Result:
        """What `function` gives in the first process, which alone calls it. Its UserError is raised in all."""
        if self.count == 1:
            return function()
        outcome: list[Any] = [None, None]
        if self.first:
            try:
                outcome[0] = function()
            except UserError as error:
                outcome[1] = str(error)
        dist.broadcast_object_list(outcome)
        if outcome[1] is not None:
            raise AgreedError(outcome[1])
        return outcome[0]

    def first_goes_ahead(self, function: Callable[[], Result]) -> Result:
        """What `function` gives in each process. What the first is asked for, or downloads, the others find."""
        if self.count == 1:
            return function()
        kept: list[Result] = []
        self.first_decides(lambda: kept.append(function()))
        return kept[0] if self.first else function()

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Within the block a sum over all processes is this one's own part, and none waits for another there."""
        global _apart
        _apart = True
        try:
            yield
        finally:
            _apart = False

    def new_group(self) -> "dist.ProcessGroup":
        """All of them once more: its messages never mix with those of others."""
        return dist.new_group(timeout=PATIENCE)

    def choose_device(self, name: str) -> torch.device:
        """`device.choose_device`, where "auto" and "cuda" mean a GPU of its own. UserError if there is none."""
        self.first_decides(lambda: str(choose_device(name)))  # what is mistyped is told once
        device = choose_device(name)
        if self.count == 1 or device.type == "cpu":
            return device
        if device.type != "cuda":
            raise AgreedError(f"several processes cannot share {device}; start one, or add --device cpu.")
        if device.index is not None:
            raise AgreedError(f"each process needs a GPU of its own; leave --device {name} out, or name cuda.")
        if self.local_rank >= torch.cuda.device_count():
            raise UserError(
                f"this machine has {torch.cuda.device_count()} GPUs, but more processes; start one process per GPU "
                "(torchrun --nproc-per-node gpu)."
            )
        torch.cuda.set_device(self.local_rank)
        return device


ALONE = Processes()


_apart = False  # no context variable: autograd has threads of its own


@torch.compiler.disable  # compilers may reorder messages, and would know at compile time whether processes are apart
def _total(tensor: Tensor) -> Tensor:
    return _Total.apply(tensor)


class _Total(torch.autograd.Function):
    """Sum over the processes, forwards and backwards: each of them goes on with the same sum."""

    @staticmethod
    def forward(ctx, tensor: Tensor) -> Tensor:
        return _summed(tensor)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return _summed(gradient)


def _summed(tensor: Tensor) -> Tensor:
    total = tensor.detach().clone(memory_format=torch.contiguous_format)
    if not _apart:
        dist.all_reduce(total)
    return total


@contextmanager
def joined() -> Iterator[Processes]:
    """All processes that torchrun has started, found by its environment variables; else this one alone.

    May be nested. Of several processes, one says what went wrong, and all end with exit code 2.
    """
    if dist.is_available() and dist.is_initialized():
        yield _of_environment()
        return
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield ALONE
        return
    processes = _join()
    try:
        yield processes
    except AgreedError as error:
        if processes.first:
            _say_error(str(error))
        dist.barrier()  # torchrun ends the others as soon as one has ended
        sys.exit(2)
    except UserError as error:
        _say_error(str(error))
        sys.exit(2)
    except Terminated:
        if processes.first:
            raise
        sys.exit(143)
    except KeyboardInterrupt:
        if processes.first:
            raise
        sys.exit(130)
    except RuntimeError as error:
        if not _tells_of_a_lost_process(error):
            raise
        _say_error("another of the processes has ended; give the same command again, to train on with --resume.")
        sys.exit(2)
    dist.destroy_process_group()


def _join() -> Processes:
    missing = [name for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if missing:
        raise UserError(
            f"WORLD_SIZE says that there are several processes, but {missing[0]} is not set; start them with torchrun."
        )
    # on CUDA NCCL sums tensors of the GPUs, and Gloo all else
    gpus = torch.cuda.is_available() and dist.is_nccl_available()
    backend = "cpu:gloo,cuda:nccl" if gpus else "gloo"
    store, rank, count = next(dist.rendezvous("env://", timeout=PATIENCE))
    own = dist.PrefixStore(agree_on_name(store, rank, count), store)
    dist.init_process_group(backend, store=own, rank=rank, world_size=count, timeout=PATIENCE)
    return _of_environment()


def _of_environment() -> Processes:
    return Processes(dist.get_rank(), dist.get_world_size(), int(os.environ.get("LOCAL_RANK", "0")))


def _say_error(sentence: str) -> None:
    print(f"error: {sentence}", file=sys.stderr, flush=True)


def _tells_of_a_lost_process(error: RuntimeError) -> bool:
    return isinstance(error, dist.DistError) or "gloo" in str(error)


def began_in_this_launch(file: Path) -> bool:
    """Whether torchrun has started this process anew (--max-restarts), after an earlier one of it wrote `file`."""
    if int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) == 0 or not file.exists():
        return False
    return file.stat().st_mtime >= psutil.Process(os.getppid()).create_time()
