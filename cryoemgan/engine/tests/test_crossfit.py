"""Cross-fitting: no particle meets a network that knows it, by names, by half set, by resume and by --init."""

import csv
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from ..__main__ import run
from ..data.table import ParticleTable
from ..errors import InputError
from ..imaging import flips
from ..inference.model import Model
from ..inference.routing import route
from ..settings.denoise import Denoise
from ..settings.train import Train
from . import toypairs
from .test_resume import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures('one_thread')]

COUNT = 60
SHORT = dict(iterations=6, evaluations=3, batch_size=8, threads=1, precision='float32')


def data(folder, halves=None, count=COUNT, seed=0):
    particles, references = toypairs.pairs(folder, count=count, seed=seed)
    if halves is not None:
        table = ParticleTable.read(particles)
        table.set('rlnRandomSubset', halves)
        table.write(particles)
    return dict(particles=str(particles), references=str(references))


@pytest.fixture(scope='module')
def halves():
    return 1 + np.random.default_rng(3).permutation(COUNT) % 2


@pytest.fixture(scope='module')
def inputs(tmp_path_factory, halves):
    return data(tmp_path_factory.mktemp('data'), halves)


@pytest.fixture(scope='module')
def unbroken(tmp_path_factory, inputs):
    folder = tmp_path_factory.mktemp('unbroken') / 'o'
    train(folder, inputs)
    return folder


def train(folder, inputs, **options):
    settings = Train(output=str(folder), **{**SHORT, **inputs, **options})
    settings.validate()
    return run('train', settings)


def denoise(folder, particles, model, **options):
    run('denoise', Denoise(output=str(folder), particles=str(particles), model=str(model), precision='float32',
                           threads=1, **options))  # fmt: skip
    table = ParticleTable.read(folder / 'denoised.star')
    summary = json.loads((folder / 'summary.json').read_text())
    return table, table.images().read(np.arange(len(table))), summary


def rows(folder):
    with (folder / 'metrics.csv').open(newline='') as f:
        return list(csv.DictReader(f))


def same_weights(a, b):
    a, b = (Model.load(f / 'model').members for f in (a, b))
    return a.keys() == b.keys() and all(
        torch.equal(x, y) for m in a for x, y in zip(a[m].state_dict().values(), b[m].state_dict().values())
    )


def test_half_sets_train_two_members_that_share_no_particle(unbroken, inputs, halves):
    summary = json.loads((unbroken / 'summary.json').read_text())
    assert summary['cross_fit'] == {'mode': 'halves', 'members': ['half1', 'half2']}
    assert summary['iterations'] == 12
    model = Model.load(unbroken / 'model')
    assert model.card['cross_fit'] == {'mode': 'halves', 'own_half_map': False}
    seen = model.trained_on(ParticleTable.read(inputs['particles']).names())
    np.testing.assert_array_equal(seen['half1'], halves == 1)
    np.testing.assert_array_equal(seen['half2'], halves == 2)
    assert [(r['member'], int(r['iteration'])) for r in rows(unbroken)] == [
        (m, i) for m in ('half1', 'half2') for i in (0, 2, 4, 6)
    ]
    assert not same_members(model)


def same_members(model):
    a, b = (m.state_dict().values() for m in model.members.values())
    return all(torch.equal(x, y) for x, y in zip(a, b))


def test_spread_of_the_best_evaluations_is_the_mean_of_the_members(unbroken):
    found = json.loads((unbroken / 'summary.json').read_text())
    for key, measure in (('top_mse_mean', np.mean), ('top_mse_sd', np.std)):
        each = [measure([t['mse'] for t in m['top']]) for m in found['members'].values()]
        assert found[key] == pytest.approx(np.mean(each))
        assert each[0] != each[1]


def test_each_particle_is_denoised_by_the_other_half(tmp_path, unbroken, inputs, halves):
    table, images, summary = denoise(tmp_path / 'd', inputs['particles'], unbroken / 'model', cut='none')
    model, noisy = Model.load(unbroken / 'model'), ParticleTable.read(inputs['particles']).images()
    noisy = noisy.read(np.arange(COUNT))
    for half, member in ((1, 'half2'), (2, 'half1')):
        mine = halves == half
        np.testing.assert_allclose(images[mine], model.denoise(noisy[mine], member), rtol=1e-4, atol=1e-4)
        assert set(np.array(table.strings('cryoemganMember'))[mine]) == {member}
    assert summary['leakage'] == 0
    assert summary['members'] == ['half1', 'half2']
    assert (table.provenance['leakage'], table.provenance['cross_fit']) == ('0', 'halves')
    assert not any('trained on' in w for w in summary['warnings'])
    # Routing needs no disagreement: the same images without it.
    quick = denoise(tmp_path / 'q', inputs['particles'], unbroken / 'model', cut='none', uncertainty=False)
    np.testing.assert_allclose(quick[1], images, rtol=1e-4, atol=1e-4)
    assert not quick[0].has('cryoemganUncertainty')


def test_uncertainty_is_the_scaled_disagreement_of_members(tmp_path, unbroken, inputs):
    table, images, _ = denoise(tmp_path / 'd', inputs['particles'], unbroken / 'model', cut='none')
    model, noisy = Model.load(unbroken / 'model'), ParticleTable.read(inputs['particles']).images()
    noisy = noisy.read(np.arange(COUNT))
    a, b = (model.denoise(noisy, m) for m in ('half1', 'half2'))
    told, difference = model.card['uncertainty'], a - b
    expected = np.hypot(told['floor'], told['scale'] * difference.std((1, 2)) / 2**0.5) / images.std((1, 2))
    np.testing.assert_allclose(table.floats('cryoemganUncertainty'), expected, rtol=1e-3)


def test_unseen_particles_get_the_mean_of_the_members(tmp_path, unbroken):
    other = data(tmp_path, seed=5)
    path = ParticleTable.read(other['particles'])
    path.set('rlnImageOriginalName', [f'{i + 1:06d}@other.mrcs' for i in range(COUNT)])
    path.write(other['particles'])
    table, images, summary = denoise(tmp_path / 'd', other['particles'], unbroken / 'model', cut='none')
    model = Model.load(unbroken / 'model')
    noisy = table_images(other['particles'])
    expected = (model.denoise(noisy, 'half1') + model.denoise(noisy, 'half2')) / 2
    np.testing.assert_allclose(images, expected, rtol=1e-4, atol=1e-4)
    assert set(table.strings('cryoemganMember')) == {'mean'}
    assert summary['leakage'] == 0


def table_images(path):
    table = ParticleTable.read(path)
    return table.images().read(np.arange(len(table)))


def test_leakage_is_what_every_member_has_seen(tmp_path, unbroken, inputs, halves):
    """A model whose members both know the particles of half 1 has nobody left for them."""
    model = Model.load(unbroken / 'model')
    table = ParticleTable.read(inputs['particles'])
    known = model.trained_on

    model.trained_on = lambda names: {k: v | (halves == 1) for k, v in known(names).items()}
    routing = route(model, table)
    assert routing.leakage == (halves == 1).sum()
    np.testing.assert_array_equal(routing.leaked, halves == 1)
    np.testing.assert_allclose(routing.weights.sum(1), 1)


def test_half_sets_count_although_the_particle_did_not_train(unbroken, inputs, halves):
    """Half map 1 holds the noise of all of half 1, also of particles that were left out of training."""
    table = ParticleTable.read(inputs['particles'])
    table.set('rlnImageOriginalName', [f'{i + 1:06d}@elsewhere.mrcs' for i in range(COUNT)])
    routing = route(Model.load(unbroken / 'model'), table)
    assert routing.labels() == ['half2' if h == 1 else 'half1' for h in halves]


@pytest.mark.parametrize('folds', [2, 3])
def test_folds_where_there_are_no_half_sets(tmp_path, folds):
    inputs = data(tmp_path)
    found = train(tmp_path / 'o', inputs, folds=folds)
    assert found['cross_fit']['mode'] == 'folds'
    table = ParticleTable.read(inputs['particles'])
    model = Model.load(tmp_path / 'o' / 'model')
    unseen = ~np.stack(list(model.trained_on(table.names()).values()))
    assert (unseen.sum(0) == 1).all()
    assert set(unseen.sum(1)) == {COUNT // folds}
    assert route(model, table).leakage == 0


def test_one_network_for_all_is_told_to_leak(tmp_path, inputs):
    found = train(tmp_path / 'o', inputs, cross_fit='none')
    summary = denoise(tmp_path / 'd', inputs['particles'], tmp_path / 'o' / 'model')[2]
    assert summary['leakage'] == found['training_pairs'] == 54
    assert any('trained on 54 of these 60' in w for w in summary['warnings'])


def test_minutes_are_shared_and_half_sets_are_needed(tmp_path, inputs, monkeypatch):
    from ..commands import train as verb

    settings = Train(output=str(tmp_path / 'o'), minutes=1.0, **inputs)
    from ..job import Job

    settings = settings.filled()
    members = verb.load_inputs(settings, Job('train', settings)).tasks
    assert [m.settings.minutes for m in members] == [0.5, 0.5]
    assert members[0].settings.seed != members[1].settings.seed
    with pytest.raises(InputError, match='_rlnRandomSubset'):
        train(tmp_path / 'p', data(tmp_path), cross_fit='halves')


def test_init_must_not_carry_hidden_particles_in(tmp_path, inputs, unbroken):
    start = str(unbroken / 'model')
    train(tmp_path / 'a', inputs, init=start, iterations=2, evaluations=1)
    with pytest.raises(InputError, match='--init: every fold model'):
        train(tmp_path / 'b', inputs, init=start, iterations=2, evaluations=1, cross_fit='folds')


@pytest.mark.parametrize('member', ['half1', 'half2'])
def test_killed_and_resumed_equals_unbroken(tmp_path, inputs, unbroken, member):
    folder = tmp_path / 'o'
    options = {**SHORT, **inputs, 'output': folder}
    words = [x for k, v in options.items() for x in ('--' + k.replace('_', '-'), str(v))]
    process = subprocess.Popen(
        [sys.executable, '-m', 'cryoemgan.engine', 'train', *words],
        env={**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'},
        stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    metrics, deadline = folder / 'metrics.csv', time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if metrics.exists() and f'\n{member},' in metrics.read_text():
            break
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    train(folder, inputs, resume=True)
    assert same_weights(folder, unbroken)
    for row in (one := rows(folder)) + (other := rows(unbroken)):
        del row['seconds']
    assert one == other


def test_finished_members_are_kept_and_a_longer_run_trains_both(tmp_path, inputs):
    folder = tmp_path / 'o'
    train(folder, inputs, iterations=2, evaluations=1)
    before = Model.load(folder / 'model').digest
    train(folder, inputs, iterations=2, evaluations=1, resume=True)
    assert Model.load(folder / 'model').digest == before
    found = train(folder, inputs, iterations=4, evaluations=1, resume=True)
    assert {m: f['iterations'] for m, f in found['members'].items()} == {'half1': 4, 'half2': 4}
    assert set(Model.load(folder / 'model').members) == {'half1', 'half2'}


def test_curves_tell_the_members_apart(unbroken):
    from ... import figures

    figure = figures.training_curves(unbroken / 'metrics.csv')
    error = next(a for a in figure.axes if a.get_title() == 'Validation error')
    labels = [t.get_text() for t in error.get_legend().get_texts()]
    assert [t.split(' (')[0] for t in labels] == ['mse half1', 'mse half2']


@pytest.mark.parametrize('box', [6, 7])
def test_turned_turns_about_the_origin(box):
    images = np.zeros((1, box, box), np.float32)
    images[0, box // 2 + 1, box // 2 - 2] = 1
    turned = flips.turned(images)
    assert turned[0, box // 2 - 1, box // 2 + 2] == 1
    np.testing.assert_array_equal(flips.turned(turned), images)


def test_cut_removes_detail_and_says_so(tmp_path, unbroken, inputs):
    from ..imaging.rings import ring_index

    whole, cut = (denoise(tmp_path / c, inputs['particles'], unbroken / 'model', cut=c)[:2] for c in ('none', '18'))
    # 18 A of 3 A pixels: a third of the Nyquist frequency, ring 16 x 6 / 18 = 5.3 of 32 px.
    power = [np.abs(np.fft.rfft2(x[1])) ** 2 for x in (whole, cut)]
    ring = ring_index(32)
    assert power[1][:, ring > 7].sum() < 1e-5 * power[0][:, ring > 7].sum()
    np.testing.assert_allclose(power[1][:, ring < 5], power[0][:, ring < 5], rtol=1e-3, atol=1e-2)
    assert cut[0].provenance['resolution_cut'] == '18.00'
    with pytest.raises(InputError, match='--cut'):
        denoise(tmp_path / 'x', inputs['particles'], unbroken / 'model', cut='fine')


def test_misaligned_pairs_are_left_out_and_counted(tmp_path, halves):
    inputs = data(tmp_path, halves)
    table = ParticleTable.read(inputs['references'])
    agreement = np.random.default_rng(0).normal(0.5, 0.02, COUNT)
    agreement[[3, 40]] = 0.1
    table.set('cryoemganCorrelation', agreement)
    table.write(inputs['references'])
    train(tmp_path / 'o', inputs, iterations=2, evaluations=1)
    warnings = json.loads((tmp_path / 'o' / 'summary.json').read_text())['warnings']
    assert any('2 of 60 pairs agree far less' in w for w in warnings)
    names = ParticleTable.read(inputs['particles']).names()
    seen = np.any(list(Model.load(tmp_path / 'o' / 'model').trained_on(names).values()), axis=0)
    np.testing.assert_array_equal(np.flatnonzero(~seen), [3, 40])
