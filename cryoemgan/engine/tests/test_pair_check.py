"""The pair check names a planted mistake, and nothing that is not there: of particles drawn in closed form."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from cryoemgan.engine.geometry import euler_to_matrix, random_matrices
from cryoemgan.engine.imaging.ctf import ctf_rfft, seen, with_ctf
from cryoemgan.engine.imaging.projection import FourierProjector
from cryoemgan.engine.tests.blobs import Blobs
from cryoemgan.engine.trust.geometry_hypotheses import GIVEN, Hypothesis, hypotheses
from cryoemgan.engine.trust.pair_check import INVERTED, UNEXPLAINED, examine

BOX, PIXEL = 32, 4.0


class Scene:
    """Particles of a map of blobs, as a microscope shows them, and what a table may say of them."""

    def __init__(self, seed, count=60, snr=0.2, ctf='full', phase=0.0):
        rng = np.random.default_rng(seed)
        blobs = Blobs.random(BOX, count=20, radius=0.3, seed=seed)
        self.blobs = Blobs(blobs.centres, 1.3 * blobs.sigmas, blobs.heights)
        self.matrices, self.shifts = random_matrices(count, seed), rng.normal(0, 1.5, (count, 2))
        defocus = rng.uniform(9000, 22000, count)
        self.ctf = {
            'defocus_u': defocus, 'defocus_v': defocus + 300, 'defocus_angle': rng.uniform(0, 180, count),
            'voltage': np.full(count, 300.0), 'cs': np.full(count, 2.7), 'amplitude_contrast': np.full(count, 0.1),
            'phase_shift': np.zeros(count),
        }  # fmt: skip
        clean = self.blobs.projections(BOX, self.matrices, self.shifts)
        true = {**self.ctf, 'phase_shift': np.full(count, phase)}
        clean = with_ctf(clean, PIXEL, true, ctf)
        noise = clean.std((1, 2)).mean() / snr**0.5
        self.images = (clean + noise * rng.standard_normal(clean.shape)).astype(np.float32)
        self.mode = 'none' if ctf == 'none' else 'full'
        self.volume = self.blobs.volume(BOX)

    # As of pair_check.Templates

    def bare(self, hypothesis):
        scale = hypothesis.scale * hypothesis.pixel
        count = len(self.images)
        projector = FourierProjector(self.volume, 2.0)
        return projector.project_rfft(
            hypothesis.matrices, np.zeros((count, 2)), None if scale == 1 else np.full(count, scale)
        )

    def transfer(self, hypothesis):
        mode = hypothesis.ctf or self.mode
        if mode == 'none':
            return 1.0
        params = {**self.ctf, 'phase_shift': self.ctf['phase_shift'] + hypothesis.phase}
        return seen(ctf_rfft(BOX, PIXEL * hypothesis.pixel, params), mode)

    def beyond_first_zero(self):
        k = np.hypot(np.fft.rfftfreq(BOX, PIXEL), np.fft.fftfreq(BOX, PIXEL)[:, None])
        return torch.from_numpy(k > 1 / np.sqrt(0.0197 * self.ctf['defocus_u'] / (1 - 0.032))[:, None, None])

    def verdict(self, **table):
        """Of a table that says something else."""
        given = replace(Hypothesis(GIVEN, self.matrices, self.shifts), **table)
        return examine(
            self.images, self, given, hypotheses(given.matrices, given.shifts, self.mode, self.mode != 'none', PIXEL)
        )


def turned_by(matrices, degrees, seed=0):
    """Rotations that are wrong by so many degrees, each in its own direction."""
    rng = np.random.default_rng(seed)
    away = euler_to_matrix(rng.uniform(0, 360, len(matrices)), degrees, 0.0)
    back = euler_to_matrix(rng.uniform(0, 360, len(matrices)), 0.0, 0.0)
    return away @ back @ matrices


def test_right_pairs_are_left_alone():
    """With and without CTF, from clear to very noisy particles."""
    for seed, snr in enumerate((0.02, 0.05, 0.2, 1.0)):
        assert Scene(seed, snr=snr).verdict().best == GIVEN
    assert Scene(9, ctf='none').verdict().best == GIVEN


def other_map(scene):
    blobs = Blobs.random(BOX, count=20, radius=0.3, seed=99)
    scene.volume = Blobs(blobs.centres, 1.3 * blobs.sigmas, blobs.heights).volume(BOX)
    return {}


def around_the_map(scene):
    """A mask of the wrong sign: what is left is the solvent around the particle, which is nothing."""
    scene.volume = np.where(scene.volume > 0.02 * scene.volume.max(), 0, scene.volume).astype(np.float32)
    return {}


@pytest.mark.parametrize(
    'wrong',
    [
        lambda s: {'matrices': random_matrices(len(s.matrices), 77)},
        lambda s: {'matrices': turned_by(s.matrices, 30.0)},
        lambda s: {'shifts': s.shifts[::-1] * 3},
        other_map,
        around_the_map,
    ],
    ids=['random poses', '30 degrees off', 'shifts of others', 'other map', 'solvent'],
)
@pytest.mark.parametrize('snr', [0.05, 0.5])
def test_what_no_single_mistake_explains_is_not_named(wrong, snr):
    """No CTF won whenever anything was wrong."""
    scene = Scene(3, snr=snr)
    found = scene.verdict(**wrong(scene))
    assert (found.best, found.certain) == (UNEXPLAINED, False)


X, Y, Z = (np.diag([1.0 - 2 * (k == axis) for k in range(3)]) for axis in range(3))


@pytest.mark.parametrize(
    ('table', 'named'),
    [
        (lambda s: {'matrices': s.matrices @ X}, r'the other hand, along x\)'),
        (lambda s: {'matrices': s.matrices @ Y}, r'the other hand, along y\)'),
        (lambda s: {'matrices': s.matrices @ Z}, r'the other hand\)'),
        (lambda s: {'matrices': -s.matrices}, r'the other hand, along all\)'),
        (lambda s: {'matrices': s.matrices.transpose(0, 2, 1)}, 'inverse rotations'),
        (lambda s: {'shifts': -s.shifts}, 'opposite sign'),
        (lambda s: {'shifts': s.shifts / PIXEL}, 'pixels where the table says Angstrom'),
        (lambda s: {'shifts': s.shifts * PIXEL}, 'Angstrom where the table says pixels'),
        (lambda s: {'shifts': s.shifts * 2}, '0.5 times as large'),
        (lambda s: {'shifts': s.shifts - s.matrices[:, :2] @ [3.0, -2.0, 1.0]}, r'moved by \(-3, 2, -1\) px'),
    ],
)
def test_a_mistake_of_geometry_is_named_for_certain(table, named):
    scene = Scene(4, snr=0.1)
    found = scene.verdict(**table(scene))
    assert re.search(named, found.best), found
    assert found.certain


def test_a_map_that_was_turned_round_with_its_array():
    """An even box then has its centre one voxel beside where it was, along each axis that was turned."""
    for axis, word in ((2, 'along x'), (1, 'along y'), (0, 'hand, its')):
        scene = Scene(5, snr=0.2)
        scene.volume = np.ascontiguousarray(np.flip(scene.volume, axis))
        found = scene.verdict()
        assert word in found.best, found
        assert 'moved by one voxel' in found.best


def test_the_ctf_state_is_told_beyond_the_first_zero():
    """Particles without the signs of the CTF, of a table that says nothing of it; a phase plate that it forgot."""
    scene = Scene(6, count=150, snr=1.0, ctf='phase-flip')
    scene.mode = 'full'
    assert scene.verdict().best == 'phase-flipped particles'
    assert 'about 90 degrees' in Scene(6, snr=0.2, phase=90.0).verdict().best


def test_inverted_contrast_is_the_simplest_explanation():
    scene = Scene(7, snr=0.05)
    scene.volume = -scene.volume
    assert scene.verdict().best == INVERTED


def test_too_few_particles_say_nothing():
    scene = Scene(8, count=4)
    assert scene.verdict(matrices=scene.matrices @ Z).best == GIVEN
