"""Do particles and references belong together, and if not, which of the usual mistakes explains it?

Each hypothesis has a likelihood (`likelihood`). To be named it must do better than the table by more than chance and
more than a little, also in what it says of each particle beyond what it says of any other view, and clearly better than
hypotheses of other kinds; else something is wrong and no cause is found. Hypotheses on the CTF state differ in signs
beyond the first zero of the CTF and are judged there: below it, a map that is wrong in any way agrees best without CTF.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import torch

from ..imaging.spectra import corner_power
from ..shapes import Floats, Images, Json, Shifts, Tensor
from .geometry_hypotheses import GIVEN, Hypothesis
from .likelihood import Likelihood, Moments, better
from .off_centre import displacement

SAMPLE = 150
# Fewer particles than this say nothing.
FEWEST = 5
UNEXPLAINED = 'something that no single one of the usual mistakes explains'
INVERTED = 'inverted contrast'
# To be named: standard errors, and part of the log likelihood. Some thirty hypotheses are tried, with either contrast.
# Of simulated sets (SNR 0.02 to 0.5, 40 and 150 particles) no right one was doubted, and in sets with random poses,
# poses 15 or 30 degrees off, or another map, no cause was named.
NAMED_Z, NAMED_GAIN = 4.0, 0.02
# To be certain: training refuses.
CERTAIN_Z, CERTAIN_GAIN = 6.0, 0.25
# By which a hypothesis must be better than those of other kinds, in standard errors.
RIVAL_Z = 2.5
# A particle's own view must be so much more likely than another's.
OWN_Z, OWN_PART = 3.0, 0.1
# Part of the power of the particles' signal (what is not in their corners, too) that a map must explain if a mistake is
# to be named: some view of any other map explains a part.
EXPLAINED = 0.5
# Rings where references and particles disagree in sign by so many standard errors.
SIGN_Z = 4.0


class Templates(Protocol):
    """Draws the templates of hypotheses, for the same particles each time."""

    def bare(self, hypothesis: Hypothesis) -> Tensor:
        """rfft2 without shifts and CTF, complex64 [n, N, N // 2 + 1]."""

    def transfer(self, hypothesis: Hypothesis) -> Tensor | float:
        """What the particles show of the CTF, float32 [n, N, N // 2 + 1], or 1."""

    def beyond_first_zero(self) -> Tensor | None:
        """Where the CTF is beyond its first zero, bool [n, N, N // 2 + 1]; None without CTF."""


@dataclass(frozen=True)
class Verdict:
    """What was found.

    Attributes
    ----------
    best : str
        ``given``, a hypothesis, or ``UNEXPLAINED``.
    certain : bool
        Whether it is beyond doubt that the pairs are wrong.
    reason : str
        Why, in a clause.
    logs : dict
        {hypothesis: mean log likelihood ratio of a particle against noise alone}, best first.
    """

    best: str
    certain: bool = False
    reason: str = ''
    logs: Mapping[str, float] = field(default_factory=dict)

    def as_dict(self) -> Json:
        """For the summary."""
        likelihoods = {k: round(v, 4) for k, v in self.logs.items()}
        return {'best': self.best, 'certain': self.certain, 'reason': self.reason, 'log_likelihood': likelihoods}


def examine(
    particles: Images, templates: Templates, given: Hypothesis, alternatives: Mapping[str, Hypothesis]
) -> Verdict:
    """Verdict on pairs, from a sample of them.

    Parameters
    ----------
    particles : float32 [n, N, N]
    templates : Templates
        Of these particles.
    given, alternatives
        As the table says, and what may be true instead, by name.
    """
    if len(particles) < FEWEST:
        return Verdict(GIVEN)
    found = _Examination(particles, templates, given)
    for name, hypothesis in alternatives.items():
        found.add(name, hypothesis)
    found.look_off_centre()
    return found.verdict()


class _Examination:
    """Likelihoods of hypotheses on the same particles."""

    def __init__(self, particles: Images, templates: Templates, given: Hypothesis) -> None:
        images = torch.from_numpy(particles - particles.mean((1, 2), keepdims=True))
        self._templates = templates
        first = templates.bare(given)
        self._last, self._bare = given, first
        self._like = Likelihood(torch.fft.rfft2(images.to(first.device)))
        self._band = templates.beyond_first_zero()
        self._hypotheses: dict[str, Hypothesis] = {}
        self._logs: dict[tuple[str, int], Floats] = {}
        self._beyond: dict[tuple[str, int], Floats] = {}
        self._explained: dict[tuple[str, int], float] = {}
        signal = self._like.noise / images.shape[-1] ** 2 - corner_power(images.numpy())[: images.shape[-1] // 2 + 1]
        self._signal = signal * images.shape[-1] ** 2
        self.add(GIVEN, given)

    def add(self, name: str, hypothesis: Hypothesis) -> None:
        """Judge a hypothesis, with either contrast."""
        self._hypotheses[name] = hypothesis
        drawn = self._draw(hypothesis)
        if self._band is not None and hypothesis.kind in (GIVEN, 'CTF', 'phase shift'):
            beyond = self._like.moments(drawn, self._band)
            self._beyond |= {(name, sign): beyond.log(sign) for sign in (1, -1)}
        moments = self._like.moments(drawn)
        self._explained |= {(name, sign): self._part_explained(moments, sign) for sign in (1, -1)}
        if hypothesis.kind == 'CTF':
            for sign in (1, -1) if self._band is not None else ():
                more = self._beyond[name, sign] - self._beyond[GIVEN, sign]
                self._logs[name, sign] = self._logs[GIVEN, sign] + more
            return
        if name == GIVEN:
            self._signs = moments.signs()
        for sign in (1, -1):
            self._logs[name, sign] = moments.log(sign)

    def _part_explained(self, moments: Moments, sign: int) -> float:
        """Part of the power of the particles' signal in the coarse rings that templates explain."""
        rings = slice(1, len(self._signal) // 2)
        power = np.square(moments.gains(np.arange(len(self._like)), sign)) * moments.p.mean(0) * self._like.noise
        return float(power[rings].sum() / max((self._signal * self._like.counts)[rings].sum(), 1e-30))

    def look_off_centre(self) -> None:
        """Add the best displacement of the centre of the map."""
        given = self._hypotheses[GIVEN]
        moves = displacement(self._like, self._draw(given), given.matrices)
        if moves is not None:
            where = ', '.join(f'{v:.0f}' for v in moves.mean(0))
            shifts = given.shifts - np.einsum('nij,nj->ni', np.asarray(given.matrices)[:, :2], moves)
            self.add(
                f'the map moved by ({where}) px along x, y, z (its centre is not that of its box)',
                replace(given, kind='centre', shifts=shifts),
            )

    def verdict(self) -> Verdict:
        """What follows."""
        ranked = self._ranked()
        logs = {_named(*key): float(self._logs[key].mean()) for key in ranked[:12]}
        given = self._logs[GIVEN, 1]
        best = ranked[0]
        if best != (GIVEN, -1) and better(self._logs[best], self._logs[GIVEN, -1]) < RIVAL_Z:
            # The simplest of what is about as likely.
            best = (GIVEN, -1)
        if best != (GIVEN, 1):
            z, gain = self._advantage(best)
            if z > NAMED_Z and gain > NAMED_GAIN and self._own_z(best) > NAMED_Z:
                reason = f'log likelihood {logs[_named(*best)]:.3g} a particle instead of {given.mean():.3g} as given'
                doubt = self._doubt(best, ranked)
                if doubt:
                    return Verdict(UNEXPLAINED, False, f'{reason}, with {_named(*best)}; {doubt}', logs)
                return Verdict(_named(*best), z > CERTAIN_Z and gain > CERTAIN_GAIN, reason, logs)
        shuffled = self._shuffled((GIVEN, 1))
        part = (given - shuffled).mean() / max(given.mean(), 1e-12)
        if better(given, shuffled) < OWN_Z or part < OWN_PART:
            return Verdict(UNEXPLAINED, False, 'the references of other particles fit them about as well', logs)
        if self._signs.min() < -SIGN_Z:
            ring = int(self._signs.argmin())
            reason = f'at {ring} waves a box references and particles have opposite signs, elsewhere they agree'
            return Verdict(UNEXPLAINED, False, reason, logs)
        return Verdict(GIVEN, False, '', logs)

    def _ranked(self) -> list[tuple[str, int]]:
        return sorted(self._logs, key=lambda key: -self._logs[key].mean())

    def _advantage(self, key: tuple[str, int]) -> tuple[float, float]:
        """(standard errors, part of the log likelihood) by which a hypothesis is better than the table."""
        mine, given = self._logs[key], self._logs[GIVEN, 1]
        return better(mine, given), float((mine - given).mean() / max(mine.mean(), 1e-12))

    def _own_z(self, key: tuple[str, int]) -> float:
        """The same by what each particle's own view adds to another's."""
        own, given = (self._logs[k] - self._shuffled(k) for k in (key, (GIVEN, 1)))
        return better(own, given)

    def _shuffled(self, key: tuple[str, int]) -> Floats:
        """Log likelihood of each particle under the view of another one, as drawn by a hypothesis."""
        hypothesis = self._hypotheses[key[0]]
        other = np.roll(np.arange(len(self._like)), len(self._like) // 2)
        drawn = self._draw(replace(hypothesis, matrices=hypothesis.matrices[other]))
        band = self._band if hypothesis.kind == 'CTF' else None
        found = self._like.moments(drawn, band).log(key[1])
        if band is None:
            return found
        # Below the first zero the table is believed, as for the hypothesis itself.
        own = replace(self._hypotheses[GIVEN], matrices=hypothesis.matrices[other])
        return found + self._like.moments(self._draw(own), ~band).log(key[1])

    def _doubt(self, best: tuple[str, int], ranked: list[tuple[str, int]]) -> str:
        """Why a better hypothesis is not the cause: a clause; empty when it is."""
        explained = self._explained[best]
        if explained < EXPLAINED:
            return f'but the map then explains only {explained:.0%} of the signal'
        kind = self._hypotheses[best[0]].kind
        for key in ranked[1:]:
            other = self._hypotheses[key[0]].kind
            if other in (kind, GIVEN) or kind == GIVEN:
                continue
            # What is said of the CTF is compared where it is said.
            compared = [self._logs] + [self._beyond] * ({kind, other} == {'CTF', 'phase shift'})
            if all(better(logs[best], logs[key]) < RIVAL_Z for logs in compared):
                return f'about as much with {_named(*key)}'
        return ''

    def _draw(self, hypothesis: Hypothesis) -> Tensor:
        last = self._last
        if hypothesis.matrices is not last.matrices or (hypothesis.scale, hypothesis.pixel) != (last.scale, last.pixel):
            self._last, self._bare = hypothesis, self._templates.bare(hypothesis)
        spectra = self._bare * self._templates.transfer(hypothesis)
        return moved(spectra, -np.asarray(hypothesis.shifts))


def moved(spectra: Tensor, shifts: Shifts) -> Tensor:
    """rfft2 [n, N, N // 2 + 1] of images moved by shifts [n, 2], (x, y) in px."""
    box = spectra.shape[1]
    x, y = (torch.from_numpy(f(box)).float().to(spectra.device) for f in (np.fft.rfftfreq, np.fft.fftfreq))
    s = torch.as_tensor(np.asarray(shifts), dtype=torch.float32, device=spectra.device)
    turns = -2 * np.pi * (s[:, 0, None, None] * x + s[:, 1, None, None] * y[:, None])
    return spectra * torch.polar(torch.ones_like(turns), turns)


def _named(name: str, sign: int) -> str:
    if sign == 1:
        return name
    return INVERTED if name == GIVEN else f'{INVERTED} and {name}'
