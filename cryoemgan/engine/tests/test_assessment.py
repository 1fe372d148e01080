"""Cut, amplitude and expected error that a card states, against the truth, for pairs at wrong angles."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from ..__main__ import run
from ..data.table import ParticleTable
from ..imaging.maps import write_map
from ..inference import uncertainty
from ..inference.assessment import Grey, cut_and_limit
from ..inference.support import Support
from ..metrics.frc import resolution, ring_correlation
from ..settings.denoise import Denoise
from ..settings.project import Project
from ..settings.simulate import Simulate
from ..settings.train import Train
from .blobs import Blobs

BOX, COUNT = 32, 160

pytestmark = pytest.mark.usefixtures('one_thread')


@pytest.fixture(scope='module', params=['rod', 'ball'])
def denoised(request, tmp_path_factory):
    """(truth, denoised images, denoised table, model card) of a guided network trained at angles wrong by 3 degrees."""
    folder = tmp_path_factory.mktemp(request.param)
    # Detail up to Nyquist, as a sharpened map has it.
    blobs = Blobs.random(BOX, 60, 0.3, 7)
    if request.param == 'rod':
        blobs = Blobs(blobs.centres * (0.3, 0.3, 1.0), blobs.sigmas, blobs.heights)
    write_map(folder / 'v.mrc', blobs.volume(BOX), 4.0)
    source = dict(volume=[str(folder / 'v.mrc')])
    given = dict(count=COUNT, box=BOX, snr=0.15, ctf=True, clean_ctf='none', threads=1)
    wrong = dict(perturb_angles=3.0, perturb_shifts=0.5, shift_sd=0.7)
    run('simulate', Simulate(output=str(folder / 's'), **source, **given, **wrong))
    particles, volume = folder / 's' / 'refined.star', folder / 's' / 'volume_1.mrc'
    shared = dict(particles=str(particles), threads=1)
    run('project', Project(output=str(folder / 'p'), volume=str(volume), ctf='none', **shared))
    how = dict(network='guided', bank_size=400, candidates=24, iterations=30, evaluations=3, batch_size=16)
    references = str(folder / 'p' / 'references.star')
    run('train', Train(output=str(folder / 't'), references=references, cross_fit='none', **how, **shared))
    run('denoise', Denoise(output=str(folder / 'd'), model=str(folder / 't' / 'model'), cut='none', **shared))
    truth = ParticleTable.read(folder / 's' / 'clean.star').images().read(np.arange(COUNT))
    table = ParticleTable.read(folder / 'd' / 'denoised.star')
    card = json.loads((folder / 't' / 'model' / 'card.json').read_text())
    return truth, table.images().read(np.arange(COUNT)), table, card


def test_cut_is_where_the_frc_with_the_truth_is_one_half(denoised):
    truth, images, table, card = denoised
    wanted = resolution(ring_correlation(images, truth).mean(0), 0.5, table.pixel_size, BOX)
    assert card['resolution']['cut'] == pytest.approx(wanted, rel=0.1)


@pytest.mark.parametrize(('noise', 'limit'), [(0.3, 0.5), (2.5, 0.143)])
def test_where_no_ring_reaches_one_half_the_signal_is_not_cut_away(noise, limit):
    rng = np.random.default_rng(3)
    axis = np.fft.fftfreq(BOX) * BOX
    coarse = np.exp(-((np.hypot(axis[:, None], axis[: BOX // 2 + 1].clip(0)) / 6) ** 4))

    def drawn():
        return np.fft.irfft2(np.fft.rfft2(rng.standard_normal((60, BOX, BOX))) * coarse, s=(BOX, BOX))

    truth = drawn()
    # As a denoiser of regression type shows it: signal and what is left of the noise, with the amplitude of the signal.
    simulated = (truth + noise * drawn()) / (1 + noise**2)
    curve = ring_correlation(simulated, truth).mean(0)
    replicates = SimpleNamespace(pairs=SimpleNamespace(pixel_size=4.0, box=BOX), truth=lambda references: references)
    answers = [SimpleNamespace(simulated=simulated, references=truth)]
    grey = Grey(1.0, 0.0, SimpleNamespace(frc=lambda: curve))
    assert cut_and_limit(replicates, answers, grey) == (limit, resolution(curve, limit, 4.0, BOX))


@pytest.mark.parametrize(('telling', 'floor'), [(1.0, 0.0), (0.5, 0.5), (0.0, 1.0)])
def test_a_disagreement_that_tells_nothing_leaves_the_same_expected_error_for_all(telling, floor):
    rng = np.random.default_rng(5)
    spreads = rng.uniform(0.5, 1.5, 4000)
    errors = 4 * (telling * spreads + (1 - telling)) + rng.normal(0, 0.5, 4000)
    scale, least = uncertainty.calibrated(errors, spreads)
    assert least**2 == pytest.approx(4 * floor, abs=0.15)
    assert scale**2 == pytest.approx(4 * telling, abs=0.15)
    assert least**2 + scale**2 * spreads.mean() == pytest.approx(errors.mean())


def test_amplitude_is_that_of_the_truth(denoised):
    truth, images, _, card = denoised
    a, b = (x - x.mean((1, 2), keepdims=True) for x in (images, truth))
    assert (a * b).sum() / (a * a).sum() == pytest.approx(1, abs=0.05)
    assert images.mean() == pytest.approx(truth.mean(), abs=0.05 * truth.std())
    assert card['signal']['snr'] == pytest.approx(0.15, rel=0.15)


def test_expected_error_is_that_against_the_truth(denoised):
    truth, images, table, _ = denoised
    a, b = (x - x.mean((1, 2), keepdims=True) for x in (images, truth))
    error = np.mean((a - b) ** 2) ** 0.5
    expected = np.mean((table.floats('cryoemganUncertainty') * a.std((1, 2))) ** 2) ** 0.5
    assert expected == pytest.approx(error, rel=0.15)


def test_detail_that_particles_do_not_hold_is_not_supported():
    """Outputs with detail of the map in all rings; real particles hold the coarse half of it only."""
    rng = np.random.default_rng(2)
    truth, noise, other = rng.normal(size=(3, 400, BOX, BOX))
    spectra = np.fft.rfft2(truth)
    ring = np.hypot(np.fft.fftfreq(BOX)[:, None], np.fft.rfftfreq(BOX)) * BOX
    held = np.fft.irfft2(spectra * (ring < 8), s=(BOX, BOX))
    support, whole = Support(), Support()
    for found, signal in ((support, held), (whole, truth)):
        found.add_replicates(truth + 0.2 * noise, truth, truth + 0.2 * noise, truth, noise)
        found.add_particles(truth + 0.2 * other, signal + other)
    assert whole.frc()[1:].min() > 0.9
    assert support.frc()[2:7].min() > 0.9
    assert support.frc()[10:].max() < 0.2
    assert support.slope() == pytest.approx(1 / 1.04, rel=0.01)
