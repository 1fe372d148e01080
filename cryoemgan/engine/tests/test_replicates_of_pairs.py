"""What networks with references are shown and judged on where the angles are imperfect, against the truth of a toy."""

import numpy as np
import pytest
import torch

from ..data.table import ParticleTable
from ..imaging.spectra import ring_power
from ..training.fresh_pairs import FreshPairs
from ..training.loading import Pairs
from ..training.pairs import ReferencePairs
from ..training.validation import replicates
from . import toypairs

pytestmark = pytest.mark.usefixtures('one_thread')

BOX, COUNT, NOISE = 32, 600, 1.0
# Displacement of each blob of a reference, px: as angles that are wrong move what lies off the centre.
DISPLACED = 1.5


@pytest.fixture(scope='module')
def given(tmp_path_factory):
    """(pairs, positions, their images as networks see them, source of noise, truth of the particles)."""
    folder = tmp_path_factory.mktemp('data')
    rng = np.random.default_rng(3)
    truth, centres = toypairs.blobs(COUNT, BOX, 0)
    references = toypairs.draw(centres + rng.normal(0, DISPLACED, centres.shape), BOX)
    noisy = toypairs.GAIN * truth + toypairs.OFFSET + NOISE * rng.standard_normal(truth.shape)
    names = [f'{i + 1:06d}@mic.mrcs' for i in range(COUNT)]
    tables = [
        toypairs.write(folder / f'{name}.star', images.astype(np.float32), names)
        for name, images in (('particles', noisy), ('references', references))
    ]
    pairs = ReferencePairs(*(ParticleTable.read(t) for t in tables))
    pairs.fit_grey_scale()
    every = np.arange(COUNT)
    gathered = tuple(torch.from_numpy(np.ascontiguousarray(x)) for x in pairs.gather(every))
    return pairs, every, Pairs(*pairs.assemble(gathered, every)), FreshPairs(pairs, every, 1), truth


def centred(images):
    return images - images.mean((-2, -1), keepdims=True)


def test_what_references_leave_is_shown_with_the_power_of_the_noise(given):
    """In the rings of the blobs references leave twice the noise; networks are shown the noise alone."""
    pairs, every, seen, fresh, _ = given
    left = seen.noisy[:, :1] - fresh.without_noise(every, seen.clean)
    rings = slice(2, 6)
    raw, shown = (ring_power(pairs.scale.sd * x[:, 0].numpy())[rings] for x in (left, fresh.as_noise(0, every, left)))
    assert raw.max() > 2 * NOISE**2
    assert shown == pytest.approx(NOISE**2, rel=0.2)


def test_what_is_best_for_replicates_is_best_for_the_truth(given):
    """Of ways to denoise, the one with the lowest error from references at imperfect angles blurs too much."""
    pairs, every, seen, fresh, truth = given
    wanted = pairs.scale.unit_scale * torch.from_numpy(centred(truth))
    k = torch.hypot(*torch.meshgrid(torch.fft.fftfreq(BOX), torch.fft.rfftfreq(BOX), indexing='ij'))
    m = fresh.noise

    def denoised(images, width):
        grey = pairs.scale.sd * images[:, 0] * pairs.scale.unit_scale / m.gain
        return centred(torch.fft.irfft2(torch.fft.rfft2(grey) * torch.exp(-((width * k) ** 2)), s=(BOX, BOX)))

    widths = np.linspace(2, 20, 73)
    shown = replicates(pairs, every, np.roll(every, 1), fresh, torch.device('cpu'))
    judged = {
        'truth': (seen.noisy, wanted),
        'references': (seen.noisy, centred(seen.clean[:, 0])),
        'replicates': (shown.noisy, centred(shown.clean[:, 0])),
    }
    best = {
        name: widths[np.argmin([float((denoised(noisy, w) - target).square().mean()) for w in widths])]
        for name, (noisy, target) in judged.items()
    }
    assert best['replicates'] == pytest.approx(best['truth'], abs=0.5)
    assert best['references'] > best['truth'] + 1


def test_replicates_do_not_depend_on_who_makes_them(given):
    """Several processes share them: each makes its own ones, as a single process makes them all."""
    pairs, every, _, fresh, _ = given
    others, device = np.roll(every, 1), torch.device('cpu')
    together = replicates(pairs, every, others, fresh, device).noisy
    for share in (every[0::2], every[1::2]):
        alone = replicates(pairs, every[share], others[share], fresh, device).noisy
        torch.testing.assert_close(alone, together[share], rtol=1e-5, atol=1e-5)
