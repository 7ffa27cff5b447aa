"""How many patches a device's memory can train on at once, told before anything is computed.

The network is walked through with tensors that hold nothing (PyTorch's "meta" device), and what it would keep for the
backward pass is counted. That takes a second, also for the largest backbone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from DinoUNetCore.network.backbone import Backbone
from DinoUNetCore.network.dino_unet import DinoUNet
from DinoUNetCore.network.variants import Variant
from DinoUNetCore.weights.placement import TRAINING_RESERVE, share_in, size_in

USABLE = 0.85  # of the free memory; the rest is lost to fragments and workspaces of the convolutions
BACKWARD = 1.15  # what the backward pass needs beside the kept activations, as a factor
SHORTENED = 0.8  # of the activations under autocast to 16 bits, in which norms stay at 32
TRAINED_BYTES = 4 + 4 + 8 + 2  # per parameter: itself, its gradient, AdamW's two moments, autocast's short copy
LOSS_MAPS = 6  # float32 maps of all classes: logits, their softmax, the targets, and their gradients


@dataclass(frozen=True)
class DeviceRoom:
    """The free memory of a device, counted in patches of one network.

    free: bytes. dtype: of autocast (float32: none), in which the matrices of a frozen backbone are kept, too.
    processes: that train together, and share out a frozen backbone if it is large or shard_backbone says so.
    """

    free: int
    variant: str | Variant
    num_classes: int
    train_backbone: bool | None = None
    dtype: torch.dtype = torch.float32
    processes: int = 1
    shard_backbone: bool = False

    def patches(self, patch_size: Sequence[int], channels: int) -> int:
        """How many patches of `channels` network inputs fit, beside the network and its optimizer; perhaps 0."""
        with torch.device("meta"):
            network = DinoUNet(self.variant, channels, self.num_classes, self.train_backbone).train()
            kept = _kept_for_backward(network, torch.empty(1, channels, *patch_size))
        if self.dtype != torch.float32:
            kept *= SHORTENED
        losses = LOSS_MAPS * 4 * self.num_classes * patch_size[0] * patch_size[1]
        left = USABLE * self.free - self._network_bytes(network)
        return max(0, int(left / (BACKWARD * kept + losses)))

    def _network_bytes(self, network: DinoUNet) -> int:
        trained = sum(p.numel() for p in network.parameters() if p.requires_grad)
        return TRAINED_BYTES * trained + (0 if network.backbone.trainable else self._frozen_bytes(network.backbone))

    def _frozen_bytes(self, backbone: Backbone) -> int:
        room, kept = self.free - TRAINING_RESERVE, size_in(backbone, self.dtype)
        if self.processes > 1 and (self.shard_backbone or kept > room):
            kept = share_in(backbone, self.dtype, self.processes)
        return kept if kept <= room else 0  # else it will be read from elsewhere in every pass


def _kept_for_backward(network: nn.Module, image: torch.Tensor) -> int:
    """Bytes of the tensors, other than parameters, that the forward pass keeps for the backward pass."""
    own = [tensor.untyped_storage() for tensor in (*network.parameters(), *network.buffers())]
    kept = {id(storage): storage for storage in own}  # holding them, so that no number is given twice
    parameters = set(kept)

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[id(storage)] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        network(image)
    return sum(storage.nbytes() for number, storage in kept.items() if number not in parameters)
