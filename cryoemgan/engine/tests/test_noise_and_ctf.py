"""What pairs show of the CTF beside their particles: its plane, and in premultiplied particles the noise."""

import numpy as np
import pytest
import torch

from ..data.stack_writer import StackWriter
from ..data.table import ParticleTable
from ..imaging.ctf import ctf_rfft, with_ctf
from ..imaging.ctf_table import half_plane
from ..inference.replicates import Replicates
from ..training.pairs import ReferencePairs
from .test_synthetic import BOX, COUNT, PX, draw, fresh, opened, read, write_data

pytestmark = pytest.mark.usefixtures('one_thread')


@pytest.fixture(scope='module')
def bare(tmp_path_factory):
    """Particles with CTF, references without."""
    return write_data(tmp_path_factory.mktemp('bare') / 'd', with_ctf=True)


def test_fresh_pairs_show_their_ctf(bare):
    """The network is told of a fresh pair what it is told of a real one: with its plane, the noise-free particle is the
    reference seen through it."""
    pairs = opened(bare[0])
    pairs.show_ctf()
    source = fresh(pairs)
    noisy, clean = draw(source, 3, 12, level=0.0)
    assert noisy.shape[1] == read(pairs, np.arange(2))[0].shape[1] == 2
    grey = (clean[:, 0] - pairs.scale.unit_offset) / pairs.scale.unit_scale
    seen = torch.fft.irfft2(torch.fft.rfft2(grey) * half_plane(noisy[:, 1]), s=(BOX, BOX))
    expected = (source.noise.gain * seen + source.noise.offset - pairs.scale.mean) / pairs.scale.sd
    torch.testing.assert_close(noisy[:, 0], expected, rtol=1e-3, atol=1e-4)


@pytest.fixture
def premultiplied(bare, tmp_path):
    """The set of ``bare``, its particles multiplied by their CTF."""
    folder, filt = bare[0], bare[2]
    table, references = (ParticleTable.read(folder / f'{n}.star') for n in ('particles', 'references'))
    images = with_ctf(table.images().read(np.arange(COUNT)), PX, table.ctf())
    with StackWriter(tmp_path / 'p.mrcs', COUNT, BOX, PX) as w:
        w.append(images)
    new = table.subset(np.arange(COUNT))
    new.set('rlnImageName', [f'{i + 1:06d}@p.mrcs' for i in range(COUNT)])
    new.set_provenance(ctf='premultiplied')
    new.write(tmp_path / 'p.star')
    pairs = ReferencePairs(ParticleTable.read(tmp_path / 'p.star'), references)
    pairs.fit_grey_scale(force=True)
    return pairs, filt


def test_noise_of_premultiplied_particles_carries_their_ctf(premultiplied):
    """In fresh pairs, in particles that get new noise and in replicates, against what the data were made of."""
    pairs, filt = premultiplied
    assert pairs.image_model == ('premultiplied', 'none')
    source, positions = fresh(pairs), np.arange(COUNT)
    ctf = ctf_rfft(BOX, PX, pairs.particles.ctf()).numpy()
    renewed = source.renew(0, positions, positions, 1.0)[:, 0].numpy() * pairs.scale.sd
    replicated = Replicates(pairs, 1).draw(positions, pairs.raw(positions)[1])[1]
    for noise in (renewed, replicated):
        power = np.abs(np.fft.rfft2(noise)) ** 2 / BOX**2
        expected = ctf**2 * filt[:, : BOX // 2 + 1] ** 2
        k = np.hypot(np.fft.fftfreq(BOX)[:, None], np.fft.rfftfreq(BOX)) * BOX
        ring = (k > 3) & (k < 14)
        # Where a particle's own CTF is weak, its noise is.
        weak = ring & (ctf**2 < 0.1)
        assert power[ring & ~weak].mean() == pytest.approx(expected[ring & ~weak].mean(), rel=0.1)
        assert power[weak].mean() == pytest.approx(expected[weak].mean(), rel=0.15)
