"""Batches of patches from processes that prepare them, and what is done when one of those dies."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from DinoUNetCore.dataset.slices import EpochSampler, TrainingSlices, collate_windows
from DinoUNetCore.errors import UserError
from DinoUNetCore.training.processes import Processes

MOST_RESTARTS = 3
"""So often in an epoch the processes that prepare batches are started anew."""


class PatchLoader:
    """The batches of one `TrainingSlices`, always the same for an epoch, whoever prepares them.

    A process that dies (often for want of memory) costs some seconds: new ones go on with the batch that is missing.

    batches: in an epoch. batch_size: patches of a whole batch, of which those at `places` are loaded here.
    workers: number of processes that prepare batches; 0: this one. pin: in memory from which CUDA copies faster.
    say: takes sentences.
    """

    def __init__(
        self,
        dataset: TrainingSlices,
        batches: int,
        batch_size: int,
        places: list[int],
        workers: int,
        pin: bool,
        say: Callable[[str], None],
    ):
        self.dataset, self.places, self.workers, self.pin, self.say = dataset, places, workers, pin, say
        self.sampler = EpochSampler(batches, batch_size, places)
        self._loader = self._make()

    def batches(self, epoch: int = 0, first: int = 0) -> Iterator[Any]:
        """The batches of an epoch, from number `first` on: `Windows`, or without augmentation (images, classes).

        UserErrors: a case is damaged; the processes die again and again.
        """
        restarts = 0
        while True:
            self.sampler.epoch, self.sampler.first = epoch, first
            try:
                for batch in _without_alarms(self._loader):
                    first += 1
                    yield batch
                return
            except UserError as error:
                raise _as_in_the_process(error) from error
            except RuntimeError as error:
                if "DataLoader worker (pid" not in str(error):  # an error within one has the words, too
                    raise
                if restarts == MOST_RESTARTS:
                    raise UserError(
                        "a process that prepares batches has ended unexpectedly, often for want of memory; go on with "
                        "--resume, perhaps with fewer --workers."
                    ) from error
            restarts += 1
            self.say("warning: a process that prepares batches has ended unexpectedly; it is started anew.")
            self._loader = self._make()

    def _make(self) -> DataLoader:
        return DataLoader(
            self.dataset,
            batch_size=len(self.places),
            sampler=self.sampler,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            pin_memory=self.pin,
            collate_fn=collate_windows if self.dataset.augmentation else None,
            generator=torch.Generator(),  # not the global one, of which loaders with and without workers draw unlike
            worker_init_fn=_single_thread,
            multiprocessing_context="spawn" if self.workers > 0 else None,
        )


def places_in_batch(batch_size: int, parts: int, processes: Processes) -> list[int]:
    """Which patches of every batch this process takes: its share of each of the parts, one after the other.

    UserError if there are not enough for all.
    """
    if batch_size < parts:
        raise UserError(
            f"a batch of {batch_size} patches cannot be taken in {parts} parts; choose a smaller --accumulate or a "
            "larger --batch-size."
        )
    if batch_size // parts < processes.count:
        each = f"each of the {parts} parts of a batch" if parts > 1 else "a batch"
        raise UserError(
            f"{each} has fewer patches ({batch_size // parts}) than there are processes ({processes.count}); start "
            "fewer processes, or train with a larger --batch-size."
        )
    return [int(place) for part in np.array_split(range(batch_size), parts) for place in processes.share(part)]


def default_workers(device: torch.device) -> int:
    """Loader processes: none beside a CPU that computes, up to 12 beside a GPU."""
    if device.type == "cpu":
        return 0
    cores = (os.cpu_count() or 2) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # shared with torchrun's processes
    return min(12, max(1, cores - 2))


def _without_alarms(loader: DataLoader) -> Iterator[Any]:
    """An iterator that tells of a dead process where its batch is missing.

    torch would also raise an exception from a signal handler, wherever the program stands: in the middle of a step.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGCHLD"):
        return iter(loader)
    handler = signal.getsignal(signal.SIGCHLD)
    batches = iter(loader)
    signal.signal(signal.SIGCHLD, handler or signal.SIG_DFL)
    return batches


def _as_in_the_process(error: UserError) -> UserError:
    """The sentence alone: the loader puts the process's traceback around it."""
    text = str(error)
    return UserError(text.rpartition("UserError: ")[2].strip()) if "Traceback" in text else error


def _single_thread(worker: int) -> None:
    torch.set_num_threads(1)
