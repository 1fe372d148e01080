"""Batch normalisation over the batch of all processes, on any device.

torch's SyncBatchNorm does the same on GPUs only; without it two processes are another training than one.
"""

import torch
from torch import nn
from torch.distributed.nn.functional import all_reduce


class SyncBatchNorm2d(nn.BatchNorm2d):
    """nn.BatchNorm2d whose statistics in training come from all processes; float32, differentiable twice."""

    def forward(self, images):
        if not self.training:
            return super().forward(images)
        with torch.autocast(images.device.type, enabled=False):
            x = images.float()
            local = torch.cat([x.sum((0, 2, 3)), x.square().sum((0, 2, 3)), x.new_tensor([x.numel() / x.shape[1]])])
            total = all_reduce(local)
            count = total[-1]
            mean, square = (total[:-1] / count).chunk(2)
            variance = (square - mean.square()).clamp_min(0)
            self._follow(mean.detach(), variance.detach() * count / (count - 1))
            scale = self.weight * torch.rsqrt(variance + self.eps)
            return (x * scale[:, None, None] + (self.bias - mean * scale)[:, None, None]).to(images.dtype)

    @torch.no_grad()
    def _follow(self, mean, variance):
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
        self.num_batches_tracked += 1


def share_batch_norm(module):
    """Turn every BatchNorm2d of a module into a shared one, in place; weights and their names stay."""
    for layer in module.modules():
        if type(layer) is nn.BatchNorm2d:
            layer.__class__ = SyncBatchNorm2d
