"""ReferencePairs kept out of training, and how well a generator does on them."""

import numpy as np
import torch

from ..metrics import image_metrics
from ..random_streams import generator
from . import blind_spots
from .augmentation import with_channel

# What is measured at each evaluation: enough for a mean within 1 %, and little beside a training interval.
LARGEST_COUNT, LARGEST_BYTES = 2000, 2**28


class Validation:
    """A fixed set of normalised pairs, shared among the processes."""

    def __init__(self, pairs, positions, fabric, batch_size):
        most = min(LARGEST_COUNT, max(2, LARGEST_BYTES // (8 * pairs.box**2)))
        if len(positions) > most:
            positions = positions[np.linspace(0, len(positions) - 1, most).round().astype(int)]
        mine = positions[fabric.global_rank :: fabric.world_size]
        self.count, self.fabric, self.batch_size = len(positions), fabric, batch_size
        self.noisy, self.clean = pairs.read(mine)

    @torch.no_grad()
    def measure(self, generator, discriminator=None, probability=True):
        """Mean mse, psnr and ssim (data range 1) of the generator's images in network units; with a discriminator
        also d_real and d_fake: its mean belief sigmoid(score) that references and denoised images are real, or with
        probability off (WGAN) its mean score."""
        modes = [m.training for m in (generator, discriminator) if m is not None]
        sums = {}
        generator.eval()
        if discriminator is not None:
            discriminator.eval()
        for start in range(0, len(self.noisy), self.batch_size):
            noisy, clean = (
                with_channel(x[start : start + self.batch_size]).to(self.fabric.device)
                for x in (self.noisy, self.clean)
            )
            with self.fabric.autocast():
                denoised = generator(noisy).float()
                judged = [] if discriminator is None else [discriminator(x).float() for x in (clean, denoised)]
            judged = [torch.sigmoid(z) for z in judged] if probability else judged
            found = image_metrics.compare(denoised[:, 0].cpu().numpy(), clean[:, 0].cpu().numpy(), 1.0)
            batch = {k: found[k].sum() for k in ('mse', 'psnr', 'ssim')}
            batch.update(zip(('d_real', 'd_fake'), (z.flatten(1).mean(1).sum().item() for z in judged)))
            sums = {k: sums.get(k, 0.0) + float(v) for k, v in batch.items()}
        for module, mode in zip((generator, discriminator), modes):
            module.train(mode)
        total = self.fabric.all_reduce(torch.tensor(list(sums.values()), dtype=torch.float64), reduce_op='sum')
        return {k: v / self.count for k, v in zip(sums, total.tolist())}


class CopiesValidation(Validation):
    """Noisy images kept out of training, for targets self and copies: their mean squared distance to the output less
    the variance of their noise estimates the error (mse); psnr and ssim would compare with noise.

    hidden: part of the pixels that are hidden (always the same ones) and measured; 0 for copies.
    """

    def __init__(self, pairs, positions, fabric, batch_size, hidden, seed):
        super().__init__(pairs, positions, fabric, batch_size)
        self.noise, self.counted = pairs.target_noise, [None] * -(-len(self.noisy) // batch_size)
        self.noisy = with_channel(self.noisy)
        if hidden:
            rng = generator(seed, 'blind spots', 2**31, fabric.global_rank)
            self.noisy, mask = blind_spots.hide(self.noisy, hidden, rng)
            self.counted = mask.split(batch_size)

    @torch.no_grad()
    def measure(self, generator, discriminator=None, probability=True):
        """{'mse'}: estimated error of the generator's images in network units."""
        training, sums = generator.training, torch.zeros(2, dtype=torch.float64)
        generator.eval()
        clean = with_channel(self.clean).split(self.batch_size)
        for noisy, target, counted in zip(self.noisy.split(self.batch_size), clean, self.counted):
            with self.fabric.autocast():
                denoised = generator(noisy.to(self.fabric.device)).float().cpu()
            squares = (denoised - target).square()
            squares = squares if counted is None else squares[counted]
            sums += torch.tensor([squares.sum(dtype=torch.float64), squares.numel()], dtype=torch.float64)
        generator.train(training)
        total, count = self.fabric.all_reduce(sums, reduce_op='sum').tolist()
        return {'mse': total / count - self.noise}
