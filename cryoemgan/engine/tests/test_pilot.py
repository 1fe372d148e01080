"""What a training says of its time after its first seconds, and that it never ends below where it started."""

import itertools
import re

import numpy as np
import pytest

from ..__main__ import run
from ..data.table import ParticleTable
from ..inference import collapse
from ..settings.denoise import Denoise
from ..settings.filter import Filter
from ..settings.train import Train
from ..training import loop
from ..training.pilot import Pilot
from ..training.step import Training
from ..training.validation import ReferenceValidation
from . import toypairs

pytestmark = pytest.mark.usefixtures('one_thread')

BOX, COUNT = 32, 400


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    particles, references = toypairs.pairs(tmp_path_factory.mktemp('data'), COUNT, BOX, noise=1.5)
    return dict(particles=str(particles), references=str(references), threads=1)


def test_the_sentence_says_what_the_time_is_enough_for():
    """15 seconds to show 1,500 pairs once, six before the first step, two fold models."""
    about = Pilot.of('equivariant', 0, 2)
    assert about.sentence(100.0, 1500, 6.0, 306.0) == (
        'at the speed of the first seconds, --minutes 10.2 will show every pair about 20 times to its network; about '
        '30 times (--minutes 15) are likely to be needed: it may still improve with more time'
    )
    assert about.sentence(100.0, 1500, 6.0, 606.0).endswith('about 30 times (--minutes 15) are likely to be enough')
    assert (
        Pilot.of('equivariant', 8, 2)
        .sentence(100.0, 1500, 6.0, 306.0)
        .endswith('about 8 times (--minutes 4.2) are likely to be enough, and the training ends then')
    )
    # Preparing took longer than the time that was given.
    assert 'every pair less than once to its network; about 30 times' in about.sentence(100.0, 1500, 20.0, 9.0)
    assert 'every pair about once to its network' in about.sentence(100.0, 1500, 6.0, 21.0)
    # Nobody has measured what others need.
    assert Pilot.of('paper128', 0, 1).sentence(100.0, 1500, 0.0, 60.0).endswith('about 4 times to its network')


def test_a_training_says_it_once(tmp_path, data, monkeypatch, capsys):
    monkeypatch.setattr(loop, 'clock', itertools.count(0.0, 4.0).__next__)
    run('train', Train(output=str(tmp_path / 't'), minutes=2.0, evaluations=1, network='plain', **data))
    out, err = capsys.readouterr()
    # The bar counts seconds, those before the first step too.
    assert '-' not in ''.join(re.findall(r'\S+it/s', err))
    said = [line for line in out.splitlines() if 'first seconds, --minutes 2 will' in line]
    assert len(said) == 1


def test_another_network_is_named_where_it_would_show_more():
    measured = {'shown': {'error': 0.66, 'variance': 0.4}, 'signal': {'snr': 0.0197}}
    said = collapse.advice(measured, 'equivariant')
    assert said is not None
    assert 'leave 66% of the variance between particles open: at a signal-to-noise ratio of 0.02' in said
    assert '--network guided' in said
    assert collapse.advice(measured, 'guided') is None
    assert collapse.advice({**measured, 'shown': {'error': 0.2}}, 'equivariant') is None
    # Without references there is no map to be guided by.
    assert collapse.advice({'shown': {'error': 0.66}}, 'equivariant') is None


def denoised(folder, command, settings):
    run(command, settings)
    return ParticleTable.read(folder / 'denoised.star').images().read(np.arange(COUNT))


def error(images, truth):
    x, y = (i - i.mean((1, 2), keepdims=True) for i in (images, truth))
    return float(((x - y) ** 2).mean() / (y**2).mean())


def test_a_training_that_goes_astray_keeps_its_start(tmp_path, data, monkeypatch):
    """It starts as a covariance Wiener filter whose covariance is that of the references."""
    monkeypatch.setattr(collapse, 'OPEN', 0.1)
    how = dict(preset='recommended', iterations=4, evaluations=4, batch_size=32, learning_rate_generator=1.0, clip=0.0)
    found = run('train', Train(output=str(tmp_path / 't'), **how, **data))
    # What the start leaves open is said.
    assert f'leave {found["shown"]["error"]:.0%} of the variance' in found['advice']
    assert [m['best']['iteration'] for m in found['members'].values()] == [0, 0]
    given = dict(particles=data['particles'], threads=1)
    ours = denoised(
        tmp_path / 'd', 'denoise', Denoise(output=str(tmp_path / 'd'), model=str(tmp_path / 't' / 'model'), **given)
    )
    classical = denoised(tmp_path / 'f', 'filter', Filter(output=str(tmp_path / 'f'), method='cwf', **given))
    truth = toypairs.GAIN * toypairs.blobs(COUNT, BOX, 0)[0]
    assert error(ours, truth) < 1.02 * error(classical, truth)


def test_evaluations_leave_the_time_to_training(tmp_path, data, monkeypatch):
    """Evaluations of five seconds, iterations of one: forty evaluations in two minutes would leave nothing else."""
    now, spent = [0.0], {'evaluating': 0.0, 'training': 0.0}

    def pass_by(what, seconds):
        now[0] += seconds
        spent[what] += seconds

    def scores(*_):
        pass_by('evaluating', 5.0)
        return {'mse': 1.0, 'psnr': 0.0, 'ssim': 0.0}

    def iterate(self, progress):
        pass_by('training', 1.0)
        self.iteration += 1

    monkeypatch.setattr(loop, 'clock', lambda: now[0])
    monkeypatch.setattr(ReferenceValidation, 'scores', scores)
    monkeypatch.setattr(Training, 'iterate', iterate)
    how = dict(network='plain', evaluations=40, cross_fit='none', **data)
    run('train', Train(output=str(tmp_path / 't'), minutes=2.0, **how))
    assert spent['training'] > 3 * spent['evaluating'] > 0
    # Where iterations are given, every evaluation takes place, that of the start included: a resumed run has them, too.
    spent['evaluating'] = 0.0
    run('train', Train(output=str(tmp_path / 'u'), iterations=80, **how))
    assert spent['evaluating'] == (1 + 40) * 5
