"""The best linear estimate of an image behind CTF and noise, in steerable components: where a network starts.

A particle is y = a T x + b + noise in the Fourier plane, T its transfer function, the noise's power a function of the
ring, and x has independent components of known variance (they are principal). Its posterior mean is
mean + B (1/variance + B' a^2 T^2 / noise B)^-1 t with the matched filter t = B' (a T / noise) (y - b - a T mean): one
small matrix an angular frequency, as T^2 is nearly radial. This is the covariance Wiener filter of Bhamre, Zhang and
Singer (2016), its covariance taken from references. Matrices are made for groups of particles of like defocus; the
matched filter takes each particle's own CTF, astigmatism included. Premultiplied particles are T y: they hold the
filter's T already.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from scipy.cluster.vq import kmeans2
from torch import nn

from ..data.sampling import evenly_spread
from ..imaging import rings
from ..imaging.ctf import seen as shown_of
from ..imaging.ctf_table import half_plane
from ..imaging.resample import resample
from ..imaging.signal_model import before_ctf, fit_signal
from ..shapes import Tensor
from .components import FREQUENCIES, RADIAL, SAMPLES, Components

GROUPS, GROUP_SIZE = 48, 20
# Where a reference holds less of the CTF than this (squared), what lies behind it is not known; of its mean grey, which
# is far larger than any other coefficient, far less is enough.
LEAST_POWER, LEAST_MEAN = 1e-3, 1e-9
HOLDS = ('none', 'phase-flip', 'full', 'premultiplied')


class LinearEstimate(nn.Module):
    """Particles [B, C, N, N] to matched filters and linear estimates, both [B, rank].

    Parameters
    ----------
    components : Components
        Their basis and mean are set here, too, by `fit`; ``wiener`` and ``centre`` are not used.
    particles_hold : {'none', 'phase-flip', 'full', 'premultiplied'}
        The CTF in the particles. Unless none, the second channel of the images is their CTF plane (`plane_of_ctf`).
    references_hold : {'none', 'phase-flip', 'full', 'premultiplied'}
        The CTF in the references, hence in the output.
    """

    ring: Tensor
    share: Tensor
    weight: Tensor
    power: Tensor
    profiles: Tensor
    matrices: Tensor
    gain: Tensor
    size_matched: Tensor
    size_estimate: Tensor
    level: Tensor

    def __init__(self, components: Components, particles_hold: str, references_hold: str) -> None:
        super().__init__()
        for held in (particles_hold, references_hold):
            if held not in HOLDS:
                raise ValueError(f'{held!r} is not one of {", ".join(HOLDS)}')
        self.holds, self.gives = particles_hold, references_hold
        self._components = (components,)  # in a tuple: its buffers are not this module's to save
        n, groups = components.inner, 1 if particles_hold == 'none' else GROUPS
        ring = rings.ring_index(n)
        # Share of each ring's coefficients: profiles are means over rings.
        share = rings.multiplicity(n) / rings.ring_sizes(n, corners=True)[ring]
        count = int(ring.max()) + 1
        self.register_buffer('ring', torch.tensor(ring))
        self.register_buffer('share', torch.tensor(share.ravel(), dtype=torch.float32))
        self.register_buffer('gain', torch.zeros(()))
        self.register_buffer('weight', torch.zeros(count))
        self.register_buffer('power', torch.zeros(count))
        self.register_buffer('profiles', torch.zeros(groups, count))
        self.register_buffer('matrices', torch.zeros(groups, FREQUENCIES, RADIAL, RADIAL))
        for name in ('size_matched', 'size_estimate'):
            self.register_buffer(name, torch.zeros(components.rank))
        self.register_buffer('level', torch.zeros(()))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(matched filters less those of the mean image, estimates of the components), both [B, rank]."""
        with _full_precision(images.device.type):
            matched, group = self._matched(images.float())
            return matched, self._estimate(matched, group)

    def through_ctf(self, clean: Tensor, images: Tensor) -> Tensor:
        """CTF-free images [B, 1, N, N] as references of these particles [B, C, N, N] hold them."""
        if self.gives == 'none':
            return clean
        transfer = shown_of(half_plane(images[:, 1].float()), self.gives)
        return torch.fft.irfft2(torch.fft.rfft2(clean.float()) * transfer[:, None], s=clean.shape[-2:])

    # Pieces

    def _transfer(self, images: Tensor) -> Tensor | None:
        """[B, n, n // 2 + 1] of the particles, at the inner box; None where they hold no CTF."""
        if self.holds == 'none':
            return None
        return shown_of(half_plane(_cropped(images[:, 1], self._components[0].inner)), self.holds)

    def _matched(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B' (a T / noise) (y - b - a T mean) [B, rank], group [B])."""
        c = self._components[0]
        spectrum = torch.fft.rfft2(c.reduced(images[:, :1])[:, 0] - self.level, norm='ortho')
        mean = torch.fft.rfft2(c.mean, norm='ortho') * self.gain
        transfer = self._transfer(images)
        if transfer is None:
            spectrum = (spectrum - mean) * self.weight[self.ring]
        else:
            spectrum = (spectrum - mean * transfer) * self.weight[self.ring]
            spectrum = spectrum if self._premultiplied else spectrum * transfer
        filtered = torch.fft.irfft2(spectrum, s=(c.inner, c.inner), norm='ortho')
        return filtered.flatten(1) @ c.basis.flatten(1).T, self._group(transfer, len(images))

    @property
    def _premultiplied(self) -> bool:
        return self.holds == 'premultiplied'

    def _profile(self, transfer: Tensor) -> Tensor:
        """Mean square of the microscope's transfer functions over rings, [B, rings]."""
        squared = (transfer if self._premultiplied else transfer.square()).flatten(1) * self.share
        return squared.new_zeros(len(squared), len(self.weight)).index_add_(1, self.ring.flatten(), squared)

    def _group(self, transfer: Tensor | None, count: int) -> Tensor:
        if transfer is None:
            return torch.zeros(count, dtype=torch.long, device=self.weight.device)
        near = self.power.sqrt()
        return torch.cdist(self._profile(transfer) * near, self.profiles * near).argmin(1)

    def _estimate(self, matched: Tensor, group: Tensor) -> Tensor:
        c = self._components[0]
        # [B, F, 2, RADIAL] by the matrix of its group and frequency.
        return c.taken(c.placed(matched) @ self.matrices.index_select(0, group).mT)

    # Before training

    @torch.no_grad()
    def fit(self, noisy: Tensor, clean: Tensor) -> Tensor:
        """Measure everything on normalised pairs: noisy [n, C, N, N], clean [n, 1, N, N].

        Returns the references that it was measured on, [m, 1, N, N], without CTF.
        """
        c = self._components[0]
        chosen = evenly_spread(len(clean), SAMPLES)
        noisy, clean = noisy[chosen].cpu(), self._without_ctf(clean[chosen].cpu(), noisy[chosen].cpu())
        small = _resampled(clean[:, 0], c.inner)
        c.set_basis(small)
        references = torch.fft.rfft2(small, norm='ortho')
        transfer = self._transfer(noisy)
        self._fit_image_model(_resampled(noisy[:, 0], c.inner), references, transfer)
        profiles = torch.ones(1, len(self.weight)) if transfer is None else self._profile(transfer)
        self._fit_groups(profiles)
        self._fit_matrices(_ring_products(c, self.ring))
        matched, estimate = self(noisy)
        self.size_matched.copy_(c.over_pairs(matched.square().mean(0)).sqrt())
        self.size_estimate.copy_(c.over_pairs(estimate.square().mean(0)).sqrt())
        return clean

    def _without_ctf(self, references: Tensor, noisy: Tensor) -> Tensor:
        """References [n, 1, N, N] of particles [n, C, N, N] without their CTF: free of noise, they can be divided."""
        if self.gives == 'none':
            return references
        held = shown_of(half_plane(noisy[:, 1]), self.gives)[:, None]
        least = torch.full(held.shape[-2:], LEAST_POWER**2 if self.gives == 'premultiplied' else LEAST_POWER)
        least[0, 0] = LEAST_MEAN
        spectra = torch.fft.rfft2(references) * held / (held.square() + least)
        return torch.fft.irfft2(spectra, s=references.shape[-2:])

    def _fit_image_model(self, particles: Tensor, references: Tensor, transfer: Tensor | None) -> None:
        """Gain, level and noise of particles [n, n, n], of references as they show them (spectra)."""
        inner = particles.shape[-1]
        shown = references if transfer is None else references * transfer
        model = fit_signal(particles.numpy(), torch.fft.irfft2(shown, s=(inner, inner), norm='ortho').numpy())
        level = model.power
        if transfer is not None and self._premultiplied:
            level = before_ctf(level, transfer.sqrt())
        noise = torch.tensor(level, dtype=torch.float32)
        self.gain.fill_(model.gain)
        self.level.fill_(model.offset)
        self.weight.copy_(model.gain / noise)
        # How much a ring says of an image: what groups are told apart by.
        squared = references.abs().square().mean(0).flatten() * self.share
        power = torch.zeros_like(noise).index_add_(0, self.ring.flatten(), squared)
        self.power.copy_(model.gain**2 / noise * power)

    def _fit_groups(self, profiles: Tensor) -> None:
        """Groups of like profiles [n, rings], each with its mean profile."""
        count = max(1, min(len(self.profiles), len(profiles) // GROUP_SIZE))
        weighted = (profiles * self.power.sqrt()).double().numpy()
        if len(self.profiles) == 1:
            self.profiles.copy_(profiles.mean(0, keepdim=True))
            return
        first = weighted[evenly_spread(len(weighted), count)]
        found = torch.from_numpy(kmeans2(weighted, first, minit='matrix', missing='warn')[1].astype(np.int64))
        means = [profiles[found == k].mean(0) for k in range(count) if (found == k).any()]
        # Groups that are not needed repeat the last one.
        self.profiles.copy_(torch.stack(means + means[-1:] * (len(self.profiles) - len(means))))

    def _fit_matrices(self, products: Tensor) -> None:
        """products: [rings, F, RADIAL, RADIAL] of the basis in each ring."""
        c = self._components[0]
        variance = c.placed(c.size_clean.square()[None])[0].amax(1)
        there = variance > 1e-9 * variance.max()
        prior = torch.diag_embed(torch.where(there, 1 / variance.clamp_min(1e-30), torch.ones(())))
        kept = (there[:, :, None] & there[:, None, :]).float()
        for k, profile in enumerate(self.profiles):
            seen = torch.einsum('r,rfij->fij', self.gain * self.weight * profile, products)
            precision = seen * kept + prior
            self.matrices[k] = torch.linalg.inv(precision.double()).float() * kept


def _full_precision(device: str) -> AbstractContextManager[Any]:
    return torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()


def _cropped(planes: Tensor, box: int) -> Tensor:
    """The middle of centred planes [n, N, N]: [n, box, box]."""
    start = (planes.shape[-1] - box) // 2
    return planes[..., start : start + box, start : start + box]


def _resampled(images: Tensor, box: int) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(resample(images.numpy(), box)))


def _ring_products(c: Components, ring: Tensor) -> Tensor:
    """Inner products of the radial functions of each frequency within each ring: [rings, F, RADIAL, RADIAL]."""
    n, count = c.inner, int(ring.max()) + 1
    spectra = torch.fft.rfft2(c.basis, norm='ortho') * torch.from_numpy(rings.multiplicity(n)).sqrt()
    order = torch.argsort(ring.flatten(), stable=True)
    bounds = torch.bincount(ring.flatten(), minlength=count).cumsum(0).tolist()
    rows = torch.view_as_real(spectra.flatten(1)[:, order]).flatten(1)
    found = torch.zeros(count, FREQUENCIES, RADIAL, RADIAL)
    for m in range(FREQUENCIES):
        for part in range(1 if m == 0 else 2):
            # Sine and cosine have the same products; their mean is less rough on a grid.
            first = (2 * m + part) * RADIAL
            mine = torch.nonzero((c.slot >= first) & (c.slot < first + RADIAL)).flatten()
            if not len(mine):
                continue
            place = c.slot[mine] - first
            start = 0
            for r, stop in enumerate(bounds):
                block = rows[mine, 2 * start : 2 * stop]
                found[r, m][place[:, None], place] += (block @ block.T) / (1 if m == 0 else 2)
                start = stop
    return found
