"""audit: each measure against a closed form or a planted failure; originals: back to the source by identity."""

import csv
import json
import re

import numpy as np
import pytest

from cryoemgan.engine.__main__ import main, run
from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.imaging.flips import flipped
from cryoemgan.engine.imaging.rings import ring_index
from cryoemgan.engine.inference.model import Model
from cryoemgan.engine.metrics import resemblance
from cryoemgan.engine.settings.audit import Audit
from cryoemgan.engine.settings.denoise import Denoise
from cryoemgan.engine.settings.train import Train
from cryoemgan.engine.trust import negative_controls, thresholds

from . import toypairs

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures('one_thread')]

COUNT, BOX = 160, 32


# Measures


def test_controls_have_the_noise_of_the_particles_and_not_their_signal():
    """Of references whose blobs are displaced, as by wrong angles, particles keep signal of twice the noise."""
    rng = np.random.default_rng(0)
    ring = ring_index(BOX)
    shape = 1 / (1 + ring / 4.0)
    noise = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(600, BOX, BOX))) * shape, s=(BOX, BOX))
    truth, centres = toypairs.blobs(600, BOX, 0)
    truth *= 2
    known = 2 * toypairs.draw(centres + rng.normal(0, 1.5, centres.shape), BOX)
    drawn = negative_controls.NoiseModel((truth + noise).astype(np.float32), known).draw(600, rng)
    left, power = ((np.abs(np.fft.rfft2(x)) ** 2).mean(0) / BOX**2 for x in (truth + noise - known, drawn))
    for r in (3, 4, 6, 12):
        wanted = shape[ring == r].mean() ** 2
        assert power[ring == r].mean() == pytest.approx(wanted, rel=0.12)
    assert left[ring == 3].mean() > 2 * shape[ring == 3].mean() ** 2
    assert abs(resemblance.own(drawn, noise).mean()) < 0.02


def test_bias_of_a_known_denoiser():
    """A denoiser that gives g S + B for a signal S: bias of variance (1-g)^2 var(S) + var(B), whatever the noise."""
    rng = np.random.default_rng(1)
    signal, fantasy = rng.normal(size=(2, 600, BOX, BOX))
    e, o = (signal + 2 * rng.normal(size=signal.shape) for _ in range(2))
    gain, leak = 0.7, 0.1
    denoised = [gain * signal + 0.5 * fantasy + leak * (x - signal) for x in (e, o)]
    found, power = resemblance.bias(*denoised, e, o)
    # Rings 0..N/2 hold this part of the plane.
    part = (np.bincount(ring_index(BOX).ravel(), minlength=BOX)[1 : BOX // 2 + 1].sum()) / ring_index(BOX).size
    assert power.sum() == pytest.approx(part, rel=0.03)
    assert found.sum() / power.sum() == pytest.approx((1 - gain) ** 2 + 0.25, abs=0.02)


def test_rank_is_one_for_the_truth_and_half_by_chance():
    images = np.random.default_rng(2).normal(size=(80, BOX, BOX)).astype(np.float32)
    assert resemblance.rank(images, images).mean() == 1
    assert resemblance.rank(np.roll(images, 7, 0), images).mean() == pytest.approx(0.5, abs=0.1)


def test_separation():
    assert resemblance.separation([3, 4], [1, 2]) == 1
    assert resemblance.separation(np.arange(99), np.arange(99)) == pytest.approx(0.5, abs=0.01)


def test_nearest_finds_the_copy():
    images = np.random.default_rng(3).normal(size=(20, BOX, BOX)).astype(np.float32)
    np.testing.assert_allclose(resemblance.nearest(3 * images[5:7] + 1, images), 1, rtol=1e-5)


def test_calibration_of_known_errors():
    expected = np.random.default_rng(4).uniform(1, 3, 500)
    ratio, correlation = resemblance.calibration(expected, 1.5 * expected)
    assert (ratio, correlation) == (pytest.approx(1.5), pytest.approx(1))


@pytest.mark.parametrize('box', [8, 9])
def test_mirrored_keeps_the_origin(box):
    image = np.zeros((1, box, box), np.float32)
    image[0, box // 2 + 2, box // 2 - 1] = 1
    mirrored = flipped(image, -1)
    assert mirrored[0, box // 2 + 2, box // 2 + 1] == 1


def test_lights():
    limit = thresholds.THRESHOLDS['rank']
    assert [limit.colour(v) for v in (1.0, (limit.green + limit.red) / 2, 0.5)] == ['green', 'yellow', 'red']
    limit = thresholds.THRESHOLDS['bias']
    assert [limit.colour(v) for v in (0.2, (limit.green + limit.red) / 2, 1.1)] == ['green', 'yellow', 'red']
    # Between the limits nothing is certain, and the words do not claim it.
    assert limit.sentence('yellow') == f'A sign, not certain: {limit.bad[0].lower()}{limit.bad[1:]}'
    assert (limit.sentence('green'), limit.sentence('red')) == (limit.good, limit.bad)
    # Particles that the network was trained on are counted.
    leakage = thresholds.THRESHOLDS['leakage']
    assert leakage.sentence('yellow') == leakage.bad
    colours, overall = thresholds.judge({'leakage': 1.0, 'rank': 1.0, 'bias': None})
    assert (colours, overall) == ({'leakage': 'red', 'rank': 'green'}, 'red')


# Whole audits: a small trained model, and planted failures


def toys(folder):
    """Pairs in a folder, and a network trained on them in its folder ``o``."""
    particles, references = toypairs.pairs(folder, count=COUNT, noise=1.5)
    options = dict(iterations=70, evaluations=2, batch_size=12, threads=1, precision='float32', p=2)
    run('train', Train(output=str(folder / 'o'), particles=str(particles), references=str(references), **options))


@pytest.fixture(scope='module')
def data(made_once):
    folder = made_once('audited', toys)
    return folder, folder / 'particles.star', folder / 'references.star'


@pytest.fixture(scope='module')
def model(data):
    return data[0] / 'o' / 'model'


def audit(folder, particles, references, model, **options):
    return run('audit', Audit(output=str(folder), particles=str(particles), references=str(references),
                              model=str(model), threads=1, sample=COUNT, **options))  # fmt: skip


@pytest.fixture(scope='module')
def good(data, model, tmp_path_factory):
    folder = tmp_path_factory.mktemp('good') / 'a'
    return folder, audit(folder, *data[1:], model)


def test_a_good_model_is_green(good):
    folder, found = good
    assert found['lights'] == dict.fromkeys(set(thresholds.THRESHOLDS) - {'opinion'}, 'green')
    assert found['overall'] == 'green'
    summary = json.loads((folder / 'summary.json').read_text())
    assert summary['warnings'] == []
    assert json.loads((folder / 'audit.json').read_text())['judged'] == summary['judged']


def test_the_page_needs_nothing_else(good):
    text = (good[0] / 'audit.html').read_text()
    assert text.count('src="data:image/png;base64,') == 5
    # Not 'http': four letters turn up in a picture by chance.
    assert '://' not in text
    assert 'not for the final refinement' in text
    # Every picture says what it shows; green lights say what they do not judge.
    assert len(re.findall(r'class="caption">[^<]{40,}', text)) == 5
    assert 'They do not judge the set: junk' in text


def test_rows_name_every_particle(good, data):
    with (good[0] / 'audit.csv').open(newline='') as f:
        rows = list(csv.DictReader(f))
    assert [r['particle'] for r in rows] == ParticleTable.read(data[1]).names()
    assert {r['member'] for r in rows} == {'without1', 'without2'}
    assert np.mean([float(r['denoised_correlation']) for r in rows]) > 0.8


def test_unseen_uncertainty_is_calibrated(good):
    """Simulated replicates, whose errors are known: expected and true error agree within a quarter."""
    assert good[1]['uncertainty']['error_over_expected'] == pytest.approx(1, abs=0.25)
    assert good[1]['uncertainty']['correlation_with_error'] > 0


def test_noise_and_wrong_molecule_are_measured(good):
    found = good[1]
    assert found['noise_in']['nearest']['mean'] < found['denoised']['nearest']['mean']
    wrong = found['wrong_molecule']['foreign']
    # The network pulls another molecule away from its own truth and towards what it was taught.
    assert wrong['own'] < found['simulated_twins']['own']
    # The toy's pictures have no hand: mirrored ones are as good as any.
    assert found['wrong_molecule']['mirrored']['own'] == pytest.approx(found['simulated_twins']['own'], abs=0.1)


def planted(folder, data, change):
    """The data with its particles or references changed."""
    tables = [ParticleTable.read(p) for p in data[1:]]
    images = [t.images().read(np.arange(COUNT)) for t in tables]
    names = [t.names() for t in tables]
    images = change(*images)
    return [toypairs.write(folder / f'{n}.star', np.asarray(x, np.float32), k)
            for n, x, k in zip(('particles', 'references'), images, names)]  # fmt: skip


def shuffled(particles, references):
    return particles, np.roll(references, 1, axis=0)


def pure_noise(particles, references):
    rng = np.random.default_rng(0)
    return particles.mean() + particles.std() * rng.normal(size=particles.shape), references


def another_molecule(particles, references):
    rng = np.random.default_rng(0)
    signal = toypairs.GAIN * references
    foreign = negative_controls.like(negative_controls.foreign_projections(COUNT, BOX, rng), signal)
    return particles - signal + foreign, references


def inverted(particles, references):
    return 2 * particles.mean() - particles, references


def mirrored_map(particles, references):
    return particles, flipped(references, -1)


@pytest.mark.parametrize('change', [shuffled, pure_noise, another_molecule, inverted, mirrored_map])
def test_planted_failures_are_red(tmp_path, data, model, change):
    particles, references = planted(tmp_path, data, change)
    found = audit(tmp_path / 'a', particles, references, model)
    assert found['overall'] == 'red'
    assert found['lights']['fidelity'] == 'red'
    assert found['lights']['rank'] == 'red'
    assert found['lights']['leakage'] == 'green'


def test_what_project_named_is_red(tmp_path, data, model):
    """Pixel size, hand, CTF: `project` tries the alternatives (test_planted_mistakes), and the audit remembers it."""
    named = 'a pixel size of the map 10 % smaller'
    table = ParticleTable.read(data[2])
    table.set_provenance(pair_check=named, pair_check_certain='yes')
    path = data[2].with_name('named.star')
    table.write(path)
    found = audit(tmp_path / 'a', data[1], path, model)
    assert {k for k, v in found['lights'].items() if v != 'green'} == {'conventions'}
    assert (found['overall'], found['pair_check']) == ('red', named)
    table.set_provenance(pair_check_certain='no')
    table.write(path)
    assert audit(tmp_path / 'b', data[1], path, model)['lights']['conventions'] == 'yellow'


def test_leakage_is_red(tmp_path, data):
    options = dict(iterations=20, evaluations=1, batch_size=16, threads=1, precision='float32', cross_fit='none')
    run('train', Train(output=str(tmp_path / 'o'), particles=str(data[1]), references=str(data[2]), **options))
    found = audit(tmp_path / 'a', *data[1:], tmp_path / 'o' / 'model')
    assert found['lights']['leakage'] == 'red'
    assert found['leakage'] == 144


def test_references_of_another_ctf_are_refused(tmp_path, data, model, capsys):
    table = ParticleTable.read(data[2])
    table.set_provenance(ctf='full')
    path = data[2].with_name('other.star')
    table.write(path)
    words = ['--particles', data[1], '--references', path, '--model', model, '--output', tmp_path / 'a']
    assert main(['audit', *map(str, words)]) == 2
    assert 'CTF as "full"' in capsys.readouterr().err
    assert not (tmp_path / 'a').exists()


# Back to the originals


def test_originals_of_any_subset(tmp_path, data, model):
    run('denoise', Denoise(output=str(tmp_path / 'd'), particles=str(data[1]), model=str(model), threads=1))
    chosen = [7, 3, 150, 42]
    ParticleTable.read(tmp_path / 'd' / 'denoised.star').subset(chosen).write(tmp_path / 'd' / 'subset.star')
    words = ['--particles', tmp_path / 'd' / 'subset.star', '--source', data[1], '--output', tmp_path / 'o']
    assert main(['originals', *map(str, words)]) == 0
    source, found = ParticleTable.read(data[1]), ParticleTable.read(tmp_path / 'o' / 'originals.star')
    np.testing.assert_array_equal(found.images().read(np.arange(4)), source.images().read(chosen))
    assert found.names() == [source.names()[i] for i in chosen]
    # Swapped by mistake: the denoised ones are no originals.
    words = ['--particles', data[1], '--source', tmp_path / 'd' / 'denoised.star', '--output', tmp_path / 'x']
    assert main(['originals', *map(str, words)]) == 2


def test_originals_that_are_not_there(tmp_path, data, capsys):
    other = ParticleTable.read(data[1]).subset(range(100))
    other.write(tmp_path / 'part.star')
    words = ['--particles', data[1], '--source', tmp_path / 'part.star', '--output', tmp_path / 'x']
    assert main(['originals', *map(str, words)]) == 2
    assert '60 of 160 particles' in capsys.readouterr().err


def test_statement_and_members_travel_with_the_denoised_set(tmp_path, data, model):
    run('denoise', Denoise(output=str(tmp_path / 'd'), particles=str(data[1]), model=str(model), threads=1))
    table = ParticleTable.read(tmp_path / 'd' / 'denoised.star').subset([1, 2])
    assert table.provenance['leakage'] == '0'
    assert table.provenance['members'] == 'without1, without2'
    assert 'not for the final refinement' in table.provenance['statement']
    assert Model.load(model).card['uncertainty']['measure'] == 'members'
    assert len(table.floats('cryoemganUncertainty')) == 2
