"""A network on a device that holds only so much."""

import torch


class LimitedMemory:
    """A network with memory for so many patches."""

    def __init__(self, network, limit):
        self.network, self.limit, self.batches = network, limit, []

    def __getattr__(self, name):
        return getattr(self.network, name)

    def to(self, device):
        return self

    def features(self, x):
        self.batches.append(len(x))
        if len(x) > self.limit:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        return self.network.features(x)
