"""BatchNorm whose statistics are those of the whole batch, of which each process holds a part."""

import torch
from torch import Tensor, nn

from DinoUNetCore.training.processes import Processes


def share_batch_norms(network: nn.Module, processes: Processes) -> None:
    """Replace every BatchNorm2d of a network, in place; its parameters, buffers and their names stay.

    With one process nothing is done.
    """
    if processes.count == 1:
        return
    for module in list(network.modules()):
        for name, child in module.named_children():
            if type(child) is nn.BatchNorm2d:
                setattr(module, name, SharedBatchNorm2d(child, processes))


class SharedBatchNorm2d(nn.BatchNorm2d):
    """An nn.BatchNorm2d that normalises by the mean and variance over all processes while it trains.

    torch's SyncBatchNorm does so on GPUs only.
    """

    def __init__(self, norm: nn.BatchNorm2d, processes: Processes):
        super().__init__(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        self.processes = processes
        self._parameters.update(norm._parameters)
        self._buffers.update(norm._buffers)
        self.train(norm.training)

    @torch.compiler.disable  # it asks the other processes
    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape; B may differ between the processes."""
        if not self.training:
            return super().forward(x)
        mean, variance, count = self._statistics(x)
        self._remember(mean.detach(), variance.detach(), count.detach())
        scale = self.weight * (variance + self.eps).rsqrt()
        shift = self.bias - mean * scale
        return torch.addcmul(shift[:, None, None], x, scale[:, None, None]).to(x.dtype)

    def _statistics(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mean (C,), variance (C,) and the number of values of all processes.

        The statistics of the parts are brought together and then joined (Chan et al., 1979); sums of squares would
        lose digits where the mean is large.
        """
        values = x.to(torch.promote_types(x.dtype, torch.float32))
        variance, mean = torch.var_mean(values, dim=(0, 2, 3), correction=0)
        own = torch.cat([mean, variance, mean.new_tensor([x.numel() / x.shape[1]])])
        table = own.new_zeros(self.processes.count, len(own))
        table[self.processes.rank] = own
        means, variances, counts = self.processes.total(table).split([len(mean), len(mean), 1], dim=1)
        weights = counts / counts.sum()
        mean = (weights * means).sum(dim=0)
        return mean, (weights * (variances + (means - mean).square())).sum(dim=0), counts.sum()

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * count / (count - 1), self.momentum)
