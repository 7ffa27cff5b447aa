"""A frozen backbone shared out among processes: each keeps some of its blocks, and sends them to the others in time.

Torch's own `fully_shard` does so with networks that are trained, too, but wants equally many passes of all processes.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod

import torch
import torch.distributed as dist
from torch import Tensor, nn

from DinoUNetCore.network.backbone import Backbone
from DinoUNetCore.weights.backbone_weights import BackboneWeights
from DinoUNetCore.weights.dinov3 import fill_buffers, in_compute_dtype, read_licenses
from DinoUNetCore.weights.streaming import Block, let_come_and_go
from DinoUNetCore.weights.tensors import TensorDigest, assign_tensor

ALIGNMENT = 64  # bytes, as torch aligns tensors of their own: the same instructions work on them


def share_backbone(
    backbone: Backbone,
    weights: BackboneWeights,
    device: torch.device,
    dtype: torch.dtype,
    group: "dist.ProcessGroup",
) -> None:
    """Like `load_backbone`, but of N processes each keeps every N-th block, and everything outside the blocks; beside
    it has room for two blocks that come and go.

    group: of all processes, used for nothing else. Each of them has to call this, but none waits for another here: all
    read the file to its end, for the SHA-256. From then on their passes are made together, see `SharedBlocks`.
    """
    weights.check(backbone.config)
    rank, count = dist.get_rank(group), dist.get_world_size(group)
    blocks = backbone.vit.blocks[: max(backbone.taps) + 1]  # no pass goes on after the last tap
    layout = BlockLayout.of(blocks[0], dtype)
    kept = {index: layout.empty(device) for index in range(rank, len(blocks), count)}
    places = {
        f"blocks.{index}.{name}": place for index, buffer in kept.items() for name, place in layout.cut(buffer).items()
    }
    digest = TensorDigest()
    for name, tensor in weights.tensors():
        digest.update(name, tensor)
        if name in places:
            places[name].copy_(tensor)
        elif not name.startswith("blocks."):
            assign_tensor(backbone.vit, name, in_compute_dtype(name, tensor, dtype).to(device))
    fill_buffers(backbone, weights.periods, device)
    backbone.loaded_sha256, backbone.loaded_licenses = digest.hexdigest(), read_licenses(weights)
    backbone.together = SharedBlocks(blocks, kept, layout, device, group).together


@dataclass(frozen=True)
class Place:
    """Of a tensor in the bytes of its block: from `start` on."""

    start: int
    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def stop(self) -> int:
        return self.start + prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class BlockLayout:
    """How the weights of a block, which are of several dtypes, lie in one tensor of bytes. All blocks have the same."""

    places: dict[str, Place]

    @classmethod
    def of(cls, block: nn.Module, dtype: torch.dtype) -> "BlockLayout":
        """Of a block, on whatever device, whose weights are kept for computing in `dtype`."""
        places, end = {}, 0
        for name, parameter in block.named_parameters():
            start = -(-end // ALIGNMENT) * ALIGNMENT
            kept_in = in_compute_dtype(name, parameter.to("meta"), dtype).dtype
            places[name] = Place(start, tuple(parameter.shape), kept_in)
            end = places[name].stop
        return cls(places)

    def empty(self, device: torch.device) -> Tensor:
        """(bytes,) uint8, uninitialised."""
        return torch.empty(max(place.stop for place in self.places.values()), dtype=torch.uint8, device=device)

    def cut(self, buffer: Tensor) -> Block:
        """The tensors by name; views."""
        return {
            name: buffer[place.start : place.stop].view(place.dtype).view(place.shape)
            for name, place in self.places.items()
        }


class SharedBlocks:
    """Blocks that run in all processes at the same time, each on its own images, whoever keeps their weights.

    Just before a block runs, its owner (the process whose number is the block's modulo their count) sends it to all,
    and after it the others let go of it; the next block is on its way meanwhile.

    Every pass begins with a count of the processes that want one, since all have to take part in the sending. Where
    they have unequal numbers of passes to make, `together` lets those that have finished serve the others. A pass that
    is broken off (memory ran out) is served to its end before its process begins another one. Who leaves for good lets
    the others wait until torchrun, which notices it, ends them.

    kept: the bytes of this process's own blocks by index. group: of all processes, used for nothing else, so that
    these messages cannot be taken for others.
    """

    def __init__(
        self,
        blocks: nn.ModuleList,
        kept: dict[int, Tensor],
        layout: BlockLayout,
        device: torch.device,
        group: "dist.ProcessGroup",
    ):
        self._count, self._kept, self._layout, self._group = len(blocks), kept, layout, group
        # For others' blocks: one that computes, one on its way. Made once, as memory must not run out while all send.
        self._arriving = [layout.empty(device) for _ in range(2)]
        self._coming: tuple[int, Tensor, dist.Work] | None = None  # the next block of the pass
        let_come_and_go(blocks, self._take)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Around what may take some processes more passes than others: it ends when all have made theirs.

        All processes enter it, and until they have left it they have no other messages for each other.
        """
        yield
        while self._begin(computes=False):
            pass

    def _take(self, index: int) -> Block:
        if index == 0:
            self._begin(computes=True)
        return self._layout.cut(self._receive())

    def _begin(self, computes: bool) -> bool:
        """Whether a pass begins, which it does if any process computes in it."""
        while self._coming is not None:  # of the pass before, where this process has not computed to its end
            self._receive()
        computing = torch.tensor(int(computes))
        dist.all_reduce(computing, group=self._group)
        if computing > 0:
            self._send(0)
        return self._coming is not None

    def _send(self, index: int) -> None:
        """Let a block be sent: from this process, or to it."""
        buffer = self._kept[index] if index in self._kept else self._arriving[index % 2]
        owner = index % dist.get_world_size(self._group)
        self._coming = index, buffer, dist.broadcast(buffer, owner, group=self._group, async_op=True)

    def _receive(self) -> Tensor:
        """The block that is coming; the next one is on its way then."""
        index, buffer, work = self._coming
        work.wait()
        self._coming = None
        if index + 1 < self._count:
            self._send(index + 1)
        return buffer
