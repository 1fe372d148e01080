"""What a map prior says of particles, as images and numbers of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from ..shapes import Images, Rows, Tensor


@dataclass
class ImagePosterior:
    """mean, sd: float32[n, N, N] in reference grey, CTF as in the references, the empty hypothesis mixed in.
    present: [n], probability that there is a particle. evidence: [n], log odds of data, best explanation by the bank
    against empty. disagreement: [n] degrees between the bank's pose and the refinement's, NaN where unknown.
    scale: [n], contrast of the particle. misfit: [n], s.d. of noise by which what is left is too strong: the particle
    holds what the map does not. match: [n], log odds of the bank against another object of the same power spectrum.
    matrices: [n, 3, 3] and shifts: [n, 2] px, the pose in the table's conventions, NaN where the bank has none;
    angle_spread (degrees), shift_spread (px): [n], how well it is known (`Pose`). classes: [n, K], probability of each
    map of the bank."""

    mean: torch.Tensor
    sd: torch.Tensor
    present: torch.Tensor
    evidence: torch.Tensor
    disagreement: torch.Tensor
    scale: torch.Tensor
    misfit: torch.Tensor
    match: torch.Tensor
    matrices: torch.Tensor
    shifts: torch.Tensor
    angle_spread: torch.Tensor
    shift_spread: torch.Tensor
    classes: torch.Tensor

    def part(self, rows: Rows | slice) -> ImagePosterior:
        """ImagePosterior on some of the particles."""
        return ImagePosterior(*(v[rows] for v in vars(self).values()))

    @classmethod
    def joined(cls, parts: Sequence[tuple[Rows, ImagePosterior]]) -> ImagePosterior:
        """ImagePosterior on particles in order, from parts of it and the places [n] of each."""
        order = torch.from_numpy(np.argsort(np.concatenate([rows for rows, _ in parts])))
        columns = zip(*(vars(part).values() for _, part in parts))
        return cls(*(torch.cat(values)[order.to(values[0].device)] for values in columns))

    def turned(self) -> ImagePosterior:
        """ImagePosterior on the particles turned by 180 degrees about their origin at N // 2."""
        shift = 1 - self.mean.shape[-1] % 2
        mean, sd = (v.flip(1, 2).roll((shift, shift), (1, 2)) for v in (self.mean, self.sd))
        spin = torch.tensor([-1.0, -1.0, 1.0], device=mean.device)[:, None]
        return replace(self, mean=mean, sd=sd, matrices=spin * self.matrices, shifts=-self.shifts)

    def scores(self) -> Images:
        """float32[n, 5]: evidence, disagreement, contrast, misfit, match."""
        values = [self.evidence, self.disagreement, self.scale, self.misfit, self.match]
        return torch.stack(values, 1).cpu().numpy()

    def channels(self, scale: float, offset: float) -> Tensor:
        """float32[n, 3, N, N]: mean and s.d. in network units (reference grey = scale * unit + offset), presence."""
        present = self.present[:, None, None].expand_as(self.mean)
        return torch.stack([(self.mean - offset) / scale, self.sd / abs(scale), present], 1)
