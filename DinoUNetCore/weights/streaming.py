"""Backbones that are larger than the device's memory: their blocks wait in the computer's memory or on disk."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor, nn

from DinoUNetCore.network.backbone import Backbone
from DinoUNetCore.weights.backbone_weights import BackboneWeights
from DinoUNetCore.weights.dinov3 import fill_buffers, in_compute_dtype, read_licenses
from DinoUNetCore.weights.tensors import TensorDigest, assign_tensor

Block = dict[str, Tensor]


def stream_backbone(
    backbone: Backbone,
    weights: BackboneWeights,
    device: torch.device,
    dtype: torch.dtype,
    in_memory: bool,
) -> None:
    """Like `load_backbone`, but of the blocks only one or two at a time are on the device.

    in_memory: keep the blocks in the computer's memory, in the dtype they are computed in; else they are read from the
    file again in every pass. Everything outside the blocks stays on the device.
    """
    weights.check(backbone.config)
    digest, waiting = TensorDigest(), {}
    for name, tensor in weights.tensors():
        digest.update(name, tensor)
        tensor = in_compute_dtype(name, tensor, dtype)
        if not name.startswith("blocks."):
            assign_tensor(backbone.vit, name, tensor.to(device))
        elif in_memory:
            waiting[name] = tensor.pin_memory() if device.type == "cuda" else tensor
    fill_buffers(backbone, weights.periods, device)
    backbone.loaded_sha256, backbone.loaded_licenses = digest.hexdigest(), read_licenses(weights)

    def read(index: int) -> Block:
        prefix = f"blocks.{index}."
        names = [name for name in weights.names() if name.startswith(prefix)]
        if in_memory:
            tensors = {name: waiting[name] for name in names}
        else:
            tensors = {name: in_compute_dtype(name, tensor, dtype) for name, tensor in weights.tensors(names)}
        return {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}

    StreamedBlocks(backbone.vit.blocks, read, device)


def let_come_and_go(blocks: nn.ModuleList, take: Callable[[int], Block]) -> None:
    """Give each block of a sequence the weights `take(index)` just before it runs, and let go of them after it.

    It works through forward hooks, which keep `take` alive. No gradients: blocks have no weights once they have run.
    """
    for index, block in enumerate(blocks):
        _let_go(block.requires_grad_(False))
        block.register_forward_pre_hook(lambda block, _, index=index: _give(block, take(index)))
        block.register_forward_hook(lambda block, *_: _let_go(block))


def _give(block: nn.Module, tensors: Block) -> None:
    for name, tensor in tensors.items():
        assign_tensor(block, name, tensor)


def _let_go(block: nn.Module) -> None:
    for name, parameter in list(block.named_parameters()):
        assign_tensor(block, name, parameter.to("meta"))


class StreamedBlocks:
    """Fetches the weights of each block of a sequence just before it runs, and lets go of them after it.

    While one block computes, a thread fetches the next one (after the last, the first: for the next image).

    read: the weights of block i by name, in the computer's memory.
    """

    def __init__(self, blocks: nn.ModuleList, read: Callable[[int], Block], device: torch.device):
        self._blocks, self._read, self._device = blocks, read, device
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="backbone-blocks")
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._next: tuple[int, Future] | None = None
        let_come_and_go(blocks, self._take)

    def _take(self, index: int) -> Block:
        if self._next is None or self._next[0] != index:  # the first pass, or the last one was broken off
            self._fetch(index)
        fetched, self._next = self._next[1], None
        tensors, copied = fetched.result()
        self._fetch((index + 1) % len(self._blocks))
        if copied is not None:
            now = torch.cuda.current_stream(self._device)
            now.wait_event(copied)
            for tensor in tensors.values():
                tensor.record_stream(now)  # its memory must not be given to the next block before this one has run
        return tensors

    def _fetch(self, index: int) -> None:
        self._next = (index, self._thread.submit(self._copy, index))

    def _copy(self, index: int) -> tuple[Block, "torch.cuda.Event | None"]:
        if self._stream is None:
            return {name: tensor.to(self._device) for name, tensor in self._read(index).items()}, None
        tensors = self._read(index)
        with torch.cuda.stream(self._stream):
            moved = {name: tensor.to(self._device, non_blocking=True) for name, tensor in tensors.items()}
            copied = torch.cuda.Event()
            copied.record(self._stream)
        copied.synchronize()  # in this thread: what was read from disk must outlive its copying
        return moved, copied
