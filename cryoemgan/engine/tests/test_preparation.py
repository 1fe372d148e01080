"""A guided network prepares what fits into its minutes."""

import numpy as np
import pytest

from ..__main__ import run
from ..inference.model import Model
from ..posterior import preparation
from ..posterior.map_prior import MapPrior
from ..posterior.preparation import fitting, needed
from ..settings.train import Train
from . import toypairs


def cost(how, particles, library, question):
    """Seconds that a Preparation takes, by the same prices."""
    asked = particles if how.particles is None else how.particles
    each = question * preparation.asking(how.templates)
    return library * preparation.making(how.templates) + (asked + preparation.QUESTIONS * how.calibrated) * each


@pytest.mark.parametrize('seconds', [20, 60, 300, 3600])
@pytest.mark.parametrize('particles', [500, 20000])
@pytest.mark.parametrize('question', [0.005, 0.05])
def test_preparation_fits_and_uses_the_time(seconds, particles, question):
    how = fitting(seconds, 16000, particles, None, 2.0, question)
    spent = cost(how, particles, 2.0, question)
    least = cost(preparation.Preparation(1000, preparation.FEWEST_PARTICLES, preparation.FEWEST), 0, 2.0, question)
    assert how.seconds == pytest.approx(spent)
    assert spent <= max(preparation.PREPARING * seconds, least) * 1.01
    if how.templates < 16000 or how.particles is not None:
        # The next larger library, or all particles, would not have fitted.
        more = fitting(4 * seconds, 16000, particles, None, 2.0, question)
        assert cost(more, particles, 2.0, question) > spent
        assert needed(16000, particles, 2.0, question) > seconds / 60
    longer = fitting(1.5 * seconds, 16000, particles, None, 2.0, question)
    assert longer.templates >= how.templates


def test_everything_is_prepared_where_there_is_time():
    how = fitting(36000, 16000, 5000, None, 2.0, 0.01)
    assert (how.templates, how.particles, how.calibrated, how.candidates) == (16000, None, preparation.MOST, None)
    assert fitting(36000, 300, 5000, 96, 2.0, 0.01).templates == 300
    assert fitting(36000, 300, 5000, 96, 2.0, 0.01).candidates == 96


@pytest.mark.usefixtures('one_thread')
def test_minutes_that_are_too_few_shrink_the_work_and_say_what_more_would_bring(tmp_path, capsys, monkeypatch):
    """A slow machine, as the pilots see it: 0.025 s and more for each question, whatever it is here."""
    monkeypatch.setattr(preparation, 'timed', lambda work: (work(), 0.4)[1])
    asked, ask = [], MapPrior.__call__
    monkeypatch.setattr(MapPrior, '__call__', lambda self, x, *more: (asked.append(len(x)), ask(self, x, *more))[1])
    particles, references = toypairs.pairs(tmp_path, count=150, noise=0.5)
    settings = Train(output=str(tmp_path / 't'), particles=str(particles), references=str(references), minutes=0.2,
                     network='guided', evaluations=1, batch_size=8, bank_size=120, cross_fit='none', threads=1,
                     precision='float32')  # fmt: skip
    run('train', settings)
    said = capsys.readouterr()
    printed = said.out + said.err
    assert 'preparing the map prior takes about' in printed
    assert '64 of 150 particles' in printed
    assert 'minutes are not enough' in printed
    # All questions, those of calibration, of thresholds and of the judging at the end included: 1,400 without a clock.
    assert sum(asked) < 700
    # Half a second for each of 400 questions, all of the time several times over: said before it is spent.
    assert '--minutes 0.2 is less than a guided network takes' in printed
    # References that are not asked about are templates all the same.
    assert len(Model.load(tmp_path / 't' / 'model').guides['main'].bank) == 120
    assert np.isfinite(Model.load(tmp_path / 't' / 'model').card['uncertainty']['scale'])
