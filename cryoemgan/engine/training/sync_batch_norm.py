"""Batch normalisation over the batch of all processes; without it two processes are another training than one."""

from __future__ import annotations

import torch
from torch import nn
from torch.distributed.nn.functional import all_reduce

from ..shapes import Tensor


def share_batch_norm(module: nn.Module, device: torch.device) -> nn.Module:
    """The module with batch norm layers that count the images of all processes; weights and their names stay."""
    if device.type == 'cuda':
        shared: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(module)
        return shared
    if type(module) is nn.BatchNorm2d:
        return SyncBatchNorm2d.of(module)
    for name, child in module.named_children():
        setattr(module, name, share_batch_norm(child, device))
    return module


class SyncBatchNorm2d(nn.BatchNorm2d):
    """nn.BatchNorm2d whose statistics in training come from all processes; float32, differentiable twice.

    By hand because torch's SyncBatchNorm refuses tensors that are not on a GPU: several processes on CPUs, with which
    the distributed engine is tested, would have none.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    momentum: float

    @classmethod
    def of(cls, layer: nn.BatchNorm2d) -> SyncBatchNorm2d:
        """The same layer, its numbers shared with it."""
        found = cls(layer.num_features, layer.eps, layer.momentum)
        found.weight, found.bias = layer.weight, layer.bias
        for name, value in layer.named_buffers():
            setattr(found, name, value)
        return found.train(layer.training)

    def forward(self, images: Tensor) -> Tensor:
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
    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
        self.num_batches_tracked += 1
