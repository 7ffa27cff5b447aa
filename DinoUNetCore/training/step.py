"""One step of the optimizer, and what is done where it fails: not a number, out of memory."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from DinoUNetCore.errors import UserError
from DinoUNetCore.memory import is_out_of_memory
from DinoUNetCore.training.gradients import GradientMean
from DinoUNetCore.training.processes import ALONE, Processes
from DinoUNetCore.training.step_compiler import StepCompiler

MOST_SKIPPED = 10
"""So many batches in a row may give no finite loss or gradient."""


class Step:
    """Callable: this process's part of a batch, images (B, C, H, W) and classes (B, H, W) -> the loss of the whole
    batch, or None if it was skipped.

    A batch whose loss or gradient is not finite changes nothing: no weight, and no running mean of a BatchNorm (with
    float16 the loss is scaled down, as always). Many of them in a row end the training with a UserError.

    A batch that does not fit into the device's memory is split, now and from then on: gradients of its parts are added
    up. Then BatchNorm and Dice see a part at a time, so that results differ a little from those of a whole batch.
    Several processes cannot agree on that in the middle of a step: it is a UserError there.

    forward: the network under autocast, of images and what is given beside them. loss: of all processes' parts
    together. clip: largest norm of the gradient. say: takes sentences. parts: into which every batch is split from the
    start. batch_size: patches of a whole batch, of which each process gets its share of each part (`places_in_batch`);
    None: as many as are given. compiler: may compile forward and loss, on the first batch; the network stays as it is.
    """

    def __init__(
        self,
        network: nn.Module,
        forward: Callable[..., Tensor],
        loss: nn.Module,
        optimizer: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler,
        clip: float,
        say: Callable[[str], None],
        parts: int = 1,
        processes: Processes = ALONE,
        batch_size: int | None = None,
        compiler: StepCompiler | None = None,
    ):
        self.network, self.forward, self.loss = network, forward, loss
        self.optimizer, self.scaler, self.clip, self.say = optimizer, scaler, clip, say
        self.parts, self.processes, self.batch_size = parts, processes, batch_size
        self.compiler, self._loss_of, self._prepared = compiler, self._plain_loss, 0  # parts that the compiler has seen
        self.gradients = GradientMean(network, processes)
        self.skipped = 0  # batches since the last one that counted
        self._statistics = [
            buffer
            for module in network.modules()
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats
            for buffer in (module.running_mean, module.running_var, module.num_batches_tracked)
        ]

    def __call__(self, images: Tensor, classes: Tensor, *others: Tensor) -> float | None:
        """others: (B, ...) each, what `forward` takes beside the images."""
        before = [buffer.clone() for buffer in self._statistics]
        loss = self._backward([images, classes, *others], before)
        finite = math.isfinite(loss)
        if finite:
            self.scaler.unscale_(self.optimizer)
            norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.clip)
            # a scaler looks at the gradients itself, skips the step and lowers the scale
            finite = bool(torch.isfinite(norm))
            if finite or self.scaler.is_enabled():
                self.scaler.step(self.optimizer)
                self.scaler.update()
        if finite:
            self.skipped = 0
            return loss
        self._restore(before)
        self.optimizer.zero_grad(set_to_none=True)
        self.skipped += 1
        if self.skipped > MOST_SKIPPED:
            raise UserError(
                f"{self.skipped} batches in a row gave no finite loss or gradient (the last loss was {loss:g}), so the "
                "training has diverged; train again with a lower --learning-rate or with --precision float32."
            )
        return None

    def _backward(self, batch: list[Tensor], before: list[Tensor]) -> float:
        """Gradients of the mean loss over the parts; splits further while memory lacks."""
        images = batch[0]
        while True:
            self.optimizer.zero_grad(set_to_none=True)
            try:
                self._compile(batch, before)
                return self._add_gradients(batch)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if self.processes.count > 1:
                    raise UserError(
                        f"{len(images)} patches of {images.shape[2]}x{images.shape[3]} at once do not fit into the "
                        f"memory of {images.device}; start more processes with --resume, or train into another "
                        f"folder with --accumulate {2 * self.parts} or a smaller --batch-size."
                    ) from error
                smallest = self.parts >= len(images)
            # outside the except block, which holds on to what was allocated
            if smallest:
                raise UserError(
                    f"not even one patch of {images.shape[2]}x{images.shape[3]} fits into the memory of "
                    f"{images.device}; train into another folder with a smaller --patch-size or another --variant."
                )
            self._restore(before)
            self.parts = min(2 * self.parts, len(images))
            if images.device.type == "cuda":
                torch.cuda.empty_cache()
            self.say(
                f"warning: {len(images)} patches at once do not fit into the memory of {images.device}; they are taken "
                f"in {self.parts} parts from now on."
            )

    def _add_gradients(self, batch: list[Tensor]) -> float:
        total, whole = 0.0, self.batch_size or len(batch[0])
        for number, part in enumerate(self._parts_of(batch)):
            size = whole // self.parts + (number < whole % self.parts)  # of the part in all processes
            loss = self._loss_of(*part) * (size / whole)
            value = loss.item()
            total += value
            if not math.isfinite(value):
                return value
            self.gradients.backward(self.scaler.scale(loss), last=number == self.parts - 1)
        return total

    def _parts_of(self, batch: list[Tensor]) -> list[tuple[Tensor, ...]]:
        return list(zip(*(tensor.tensor_split(self.parts) for tensor in batch), strict=True))

    def _plain_loss(self, images: Tensor, classes: Tensor, *others: Tensor) -> Tensor:
        return self.loss(self.forward(images, *others).float(), classes[:, None])

    def _compile(self, batch: list[Tensor], before: list[Tensor]) -> None:
        """Once for each number of parts."""
        if self.compiler is None or self._prepared == self.parts:
            return
        self._loss_of = self.compiler.prepare(self._plain_loss, self._parts_of(batch))
        self.gradients.overlaps = self._loss_of == self._plain_loss
        self._prepared = self.parts
        self._restore(before)
        self.optimizer.zero_grad(set_to_none=True)

    def _restore(self, before: list[Tensor]) -> None:
        for buffer, value in zip(self._statistics, before, strict=True):
            buffer.copy_(value)
