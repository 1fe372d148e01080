"""Simulated replicates of pairs: the reference as its particle would show it, under fresh noise of the data's kind.

Their truth is known, whatever the angles of the particles: a reference at an angle that is wrong by 2 degrees is no
truth for its particle (the FRC with it falls to 0.5 where that with the truth is 0.9), but it is the truth of its
replicate. What replicates have and particles do not shows in how much of its own input an output repeats.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from ..data.image_state import CtfState, particles_shown_as
from ..data.sampling import evenly_spread
from ..imaging.ctf_table import CtfTable
from ..imaging.signal_model import before_ctf, fit_signal
from ..imaging.spectra import coloured_noise
from ..random_streams import generator
from ..shapes import Images, Matrices, Rows

# Pairs that tell gain and noise: the power of a ring of n pixels is then known to 1 / sqrt(500 n).
SAMPLE = 500


class Replicates:
    """Replicates of the pairs of a set, in the grey values of its particles.

    pairs: ReferencePairs. signal: SignalModel of the set.
    """

    def __init__(self, pairs: Any, seed: int) -> None:
        self.pairs, self.seed = pairs, seed
        table = pairs.particles
        held = particles_shown_as(table, pairs.references.ctf_state)
        self._ctf, self._mode = None, held.value
        if pairs.ctf == 'none' and held is not CtfState.NONE and table.has('rlnDefocusU'):
            self._ctf = CtfTable(pairs.box, pairs.pixel_size, table.ctf())
        # The noise of premultiplied particles was multiplied by their CTF, too.
        self._shape = None
        if held is CtfState.PREMULTIPLIED and table.has('rlnDefocusU'):
            self._shape = CtfTable(pairs.box, pairs.pixel_size, table.ctf())
        chosen = evenly_spread(len(pairs), SAMPLE)
        noisy, clean = pairs.raw(chosen)
        self.signal = fit_signal(noisy, self.seen(clean, chosen))
        self._power = self.signal.power
        if self._shape is not None:
            self._power = before_ctf(self._power, self._shape(torch.from_numpy(np.asarray(pairs.rows[chosen]))))

    def seen(self, images: Images, positions: Rows) -> Images:
        """Images [n, N, N] in the state of the references as the particles at these positions show them."""
        if self._ctf is None:
            return images
        rows = torch.from_numpy(np.asarray(self.pairs.rows[positions]))
        return self._ctf.apply(torch.from_numpy(np.ascontiguousarray(images)), rows, self._mode).numpy()

    def truth(self, references: Images) -> Images:
        """References [n, N, N] in the grey values of the particles."""
        return (self.signal.gain * references + self.signal.offset).astype(np.float32)

    def draw(self, positions: Rows, references: Images) -> tuple[Images, Images]:
        """(signal, noise), [n, N, N] each: particles that show these references, as seen at these positions."""
        rng = generator(self.seed, 'checks', 2, int(positions[0]))
        noise = coloured_noise(rng, len(positions), self.pairs.box, self._power)
        if self._shape is not None:
            rows = torch.from_numpy(np.asarray(self.pairs.rows[positions]))
            noise = self._shape.apply(torch.from_numpy(noise), rows).numpy()
        return self.truth(self.seen(references, positions)), noise


def wrong_angles(matrices: Matrices, displacement: float, box: int, seed: int) -> Matrices:
    """Poses [n, 3, 3] as wrong as those of the set are: what lies a quarter of the box from the centre moves by
    ``displacement`` (px, r.m.s.)."""
    turns = generator(seed, 'checks', 3).normal(0, 4 * displacement / box, (len(matrices), 3))
    found: Matrices = Rotation.from_rotvec(turns).as_matrix() @ matrices
    return found
