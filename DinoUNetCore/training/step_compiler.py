"""Finds out, on a first batch, whether the loss of a step is to be computed by what torch.compile makes of it."""

import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn

from DinoUNetCore.device import wait_for
from DinoUNetCore.errors import UserError
from DinoUNetCore.measurements import key_of, recalled, remember
from DinoUNetCore.memory import give_back
from DinoUNetCore.training.compiling import BACKEND, check_compiler, compiled, reason_of
from DinoUNetCore.training.processes import ALONE, Processes

MEASURED = 5
"""Times that a batch goes forwards and backwards to see how long that takes; the median counts."""

Loss = Callable[..., Tensor]
Batch = Sequence[Sequence[Tensor]]


class StepCompiler:
    """Compiles the loss of a step where that is wanted and works. All processes have one, and do the same with it.

    choice: "yes": wherever it works; "auto": where it is also faster, on the kinds of devices `pays_on`; "no".
    network: that the loss is of. say: takes sentences. note: takes {"asked", "running", "reason"} when that is known.
    facts: on network and batch, for which a measurement holds. memory: the file of `measurements`, in which the first
    process looks; None: there is none.
    """

    def __init__(
        self,
        choice: str,
        network: nn.Module,
        device: torch.device,
        say: Callable[[str], None],
        note: Callable[[dict], None],
        processes: Processes = ALONE,
        facts: Sequence[object] = (),
        memory: Path | None = None,
        backend: str | Callable = BACKEND,
        pays_on: Collection[str] = ("cuda",),
    ):
        self._choice, self._network, self._device, self._pays_on = choice, network, device, pays_on
        self._say, self._note, self._processes = say, note, processes
        self._memory, self._key, self._backend = memory, key_of(device, *facts), backend
        self._given_up = choice == "no"

    def prepare(self, loss: Loss, batch: Batch) -> Loss:
        """The loss to use for batches like this one: compiled, or as it is.

        batch: what the loss is called with, for each of its parts. Random numbers go on as if nothing had been (but
        on MPS); gradients, and running means of BatchNorms, are left changed. What fails without compiling passes.

        Of other shapes the loss is computed as it is: nothing is compiled later on, where one process could fail while
        the others wait for it.
        """
        if self._given_up:
            return loss
        made, reason = self._made_and_tried(loss, batch)
        self._note({"asked": self._choice, "running": made is not None, "reason": reason})
        if made is None:
            self._given_up = True
            self._say(f"Training goes on without torch.compile: {reason}.")
            return loss
        self._say("Training steps are compiled (torch.compile).")
        return _without_compiling(made)

    def _made_and_tried(self, loss: Loss, batch: Batch) -> tuple[Loss | None, str | None]:
        """The compiled loss, or why there is none."""
        if self._choice == "auto":
            if self._device.type not in self._pays_on:
                return None, f"it has not been seen to pay on {self._device.type}"
            pays = self._processes.first_decides(lambda: recalled(self._memory, self._key))
            if pays is False:
                return None, "it was slower on this computer before"
        reason = _first(self._processes.gather(self._hindrance()))  # told before one has compiled for minutes
        if reason is not None:
            return None, reason
        made = compiled(loss, self._backend)
        measure = self._choice == "auto" and pays is None
        reasons, seconds = zip(*self._processes.gather(self._try(loss, made, batch, measure)), strict=True)
        if _first(reasons) is not None:
            return None, _first(reasons)
        if measure:
            plainly, with_it = (sum(times) for times in zip(*seconds, strict=True))
            if self._processes.first:
                remember(self._memory, self._key, with_it < plainly)
            if with_it >= plainly:
                return None, f"compiled, a step takes {with_it / plainly:.2f} of the time"
        return made, None

    def _hindrance(self) -> str | None:
        """Why this process need not even try."""
        if not hasattr(torch.compiler, "set_stance"):
            return "it needs PyTorch 2.6 or newer"
        if any(module._forward_pre_hooks for module in self._network.modules()):
            return "the backbone's blocks come and go"
        return _failure(lambda: check_compiler(self._device, self._backend))

    def _try(
        self, loss: Loss, made: Loss, batch: Batch, measure: bool
    ) -> tuple[str | None, tuple[float, float] | None]:
        """Why the compiled loss does not work, if so; and the seconds that a batch takes without and with it, if they
        are to be measured.
        """
        devices = [self._device] if self._device.type == "cuda" else []
        # each for itself: one may fail here that the others would wait for
        with torch.random.fork_rng(devices), self._processes.apart():
            _backward(loss, batch)  # whose own errors pass, and which makes what is kept for all later steps
            reason = _failure(lambda: _backward(made, batch))
            give_back(self._device)  # what compiling took, or all that there was
            if reason is not None or not measure:
                return reason, None
            return None, (_seconds(loss, batch, self._device), _seconds(made, batch, self._device))


def _failure(function: Callable[[], None]) -> str | None:
    """Why a compiler fails in what is called, if it does.

    Compilers raise all kinds of errors, and what they make may need more memory. As the same has just worked without
    them, all of it is their failure but what is the user's.
    """
    try:
        function()
    except UserError:
        raise
    except Exception as error:
        return reason_of(error)
    return None


def _first(reasons: Sequence[str | None]) -> str | None:
    return next((reason for reason in reasons if reason is not None), None)


def _backward(loss: Loss, batch: Batch) -> None:
    for part in batch:
        loss(*part).backward()


def _seconds(loss: Loss, batch: Batch, device: torch.device) -> float:
    taken = []
    for _ in range(MEASURED):
        wait_for(device)
        started = time.perf_counter()
        _backward(loss, batch)
        wait_for(device)
        taken.append(time.perf_counter() - started)
    return median(taken)


def _without_compiling(made: Loss) -> Loss:
    """What is compiled already; of all else the function as it is."""

    def loss(*arguments: Tensor) -> Tensor:
        with torch.compiler.set_stance("eager_on_recompile"):
            return made(*arguments)

    return loss
