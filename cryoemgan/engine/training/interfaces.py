"""What training asks of a data set, and of a source of fresh pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import torch
from numpy.typing import NDArray

from ..data.identity import Kin, Who
from ..shapes import Floats, Images, Rows, Tensor
from .pair_scale import PairScale

if TYPE_CHECKING:
    from ..data.table import ParticleTable
    from ..posterior.map_prior import MapPrior

# What lies on disk of some pairs, an array of [n, ...] for each kind of thing, in the order that `assemble` expects.
Gathered: TypeAlias = tuple[NDArray[Any], ...]


class TrainingPairs(Protocol):
    """Training pairs by position: particles with references, with themselves, with a second copy, or guided by a map.

    A pair comes to the network in two steps. `gather` brings what lies on disk, on the host, and computes nothing;
    `assemble` makes of it what the network sees, as tensor operations on the device where the arrays lie by then. Both
    are pure functions of the positions.
    """

    @property
    def kind(self) -> str:
        """What the network learns to give: 'references', 'self' (or 'recorrupted', its copies), or 'copies'."""

    @property
    def box(self) -> int:
        """Box of the network, px."""

    @property
    def pixel_size(self) -> float:
        """Its pixel size, A."""

    @property
    def scale(self) -> PairScale:
        """Grey scales of the set."""

    @property
    def target_noise(self) -> float:
        """Variance of the noise in the targets, network units; 0 where targets are clean."""

    @property
    def gains(self) -> Floats | None:
        """Amplitude gains of the rings that whiten a particle; None where particles are not whitened."""

    @property
    def map_prior(self) -> MapPrior | None:
        """What the network knows of the map besides; None unless it is guided."""

    @property
    def particles(self) -> ParticleTable:
        """The noisy particles."""

    @property
    def rows(self) -> Rows:
        """Rows of `particles` that the positions stand for."""

    @property
    def ctf(self) -> str:
        """What the targets, hence the output, hold of the CTF."""

    @property
    def shows_ctf(self) -> bool:
        """Whether the network sees each particle's CTF plane in a second channel."""

    def known(self, positions: Rows) -> float:
        """What is known of the squared distances to the targets at these positions beyond what `target_noise` lets
        expect, summed."""

    def __len__(self) -> int: ...

    def half_sets(self) -> Rows | None:
        """[len] (1 or 2) of the particles, or None when a refinement left none."""

    def own_half_maps(self) -> bool:
        """Whether the references of each half set come from the half map of that set."""

    def who(self, positions: Rows) -> Who:
        """Who the particles at these positions are."""

    def names(self, positions: Rows) -> list[str]:
        """Their names."""

    def kin(self) -> Kin:
        """What of the pairs belongs on one side of a split."""

    def references_at(self, positions: Rows) -> ParticleTable | None:
        """Table of the references at these positions, in their order; None where there are none."""

    def raw(self, positions: Rows) -> tuple[Images, Images]:
        """(particles, targets), [n, box, box] in their own grey values."""

    def gather(self, positions: Rows) -> Gathered:
        """What lies on disk of the pairs at these positions."""

    def assemble(self, gathered: tuple[Tensor, ...], positions: Rows) -> tuple[Tensor, Tensor]:
        """What the network sees and what it shall give, of what was gathered at these positions.

        Parameters
        ----------
        gathered : tuple of Tensor
            What `gather` gave for these positions, as tensors on any device. They may be overwritten.
        positions : Rows
            The positions themselves, on the host.

        Returns
        -------
        noisy : Tensor
            Standardised particles float32 [n, C, box, box]; C = 1, or 2 with their CTF planes, or 4 for guided pairs
            (particle, posterior mean and s.d. in network units, probability that there is a particle).
        clean : Tensor
            Targets in network units, float32 [n, 1, box, box].
        """


class FreshSource(Protocol):
    """Endless pairs like those of a set, made during training, and what is known of the noise of the set.

    The rows of a draw are pure functions of (number of the draw, row): a process asks for its own ones.
    """

    @property
    def snr(self) -> float:
        """Variance of the signal over that of the noise, as measured on the set."""

    @property
    def takes_references(self) -> bool:
        """Whether fresh pairs are made of references of the set (else of new projections)."""

    def to(self, device: torch.device) -> None:
        """Make pairs on this device from now on."""

    @property
    def noise_shows_ctf(self) -> bool:
        """Whether the noise of a particle was multiplied by its CTF, so that no other particle can have it."""

    def as_noise(self, number: int, rows: Rows, left: Tensor) -> Tensor:
        """What references leave of standardised particles [n, 1, box, box], some rows of a draw, as noise: where they
        leave signal, too, as at imperfect angles, new noise takes its place."""

    def renew(self, number: int, rows: Rows, positions: Rows, level: float) -> Tensor:
        """New noise [n, 1, box, box] for standardised particles at these positions: some rows of a draw."""

    def draw(
        self, number: int, count: int, rows: Rows, level: float, references: tuple[Rows, Tensor] | None
    ) -> tuple[Tensor, Tensor]:
        """Some rows of a draw of fresh pairs.

        Parameters
        ----------
        number, count : int
            Of the draw, and how many rows it has.
        rows : Rows
            Those that are wanted.
        level : float
            S.d. of their noise in units of the set's.
        references : (Rows, Tensor) or None
            Positions and references [n, 1, box, box], in network units, that they are made of; None for new
            projections.

        Returns
        -------
        noisy, clean : Tensor
            As of `TrainingPairs.assemble`.
        """

    def without_noise(self, positions: Rows, clean: Tensor) -> Tensor:
        """The standardised particles at these positions [n, 1, box, box] without their noise, from their targets."""
