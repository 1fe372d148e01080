"""A guided network prepares what fits into its minutes."""

import numpy as np
import pytest

from ..__main__ import run
from ..inference.model import Model
from ..posterior import preparation
from ..posterior.preparation import fitting, needed
from ..settings.train import Train
from . import toypairs


def cost(how, particles, template, question):
    """Seconds that a Preparation takes, by the same prices."""
    asked = particles if how.particles is None else how.particles
    each = question * preparation._growth(how.templates)
    return how.templates * template + (asked + preparation.QUESTIONS * how.calibrated) * each


@pytest.mark.parametrize('seconds', [20, 60, 300, 3600])
@pytest.mark.parametrize('particles', [500, 20000])
@pytest.mark.parametrize('question', [0.005, 0.05])
def test_preparation_fits_and_uses_the_time(seconds, particles, question):
    how = fitting(seconds, 16000, particles, None, 0.002, question)
    spent = cost(how, particles, 0.002, question)
    least = cost(preparation.Preparation(1000, preparation.FEWEST_PARTICLES, preparation.FEWEST), 0, 0.002, question)
    assert spent <= max(preparation.PREPARING * seconds, least) * 1.01
    if how.templates < 16000 or how.particles is not None:
        # The next larger library, or all particles, would not have fitted.
        assert cost(fitting(2 * seconds, 16000, particles, None, 0.002, question), particles, 0.002, question) > spent
        assert needed(16000, particles, 0.002, question) > seconds / 60
    longer = fitting(1.5 * seconds, 16000, particles, None, 0.002, question)
    assert longer.templates >= how.templates


def test_everything_is_prepared_where_there_is_time():
    how = fitting(36000, 16000, 5000, None, 0.002, 0.01)
    assert (how.templates, how.particles, how.calibrated, how.candidates) == (16000, None, preparation.MOST, None)
    assert fitting(36000, 300, 5000, 96, 0.002, 0.01).templates == 300
    assert fitting(36000, 300, 5000, 96, 0.002, 0.01).candidates == 96


@pytest.mark.usefixtures('one_thread')
def test_minutes_that_are_too_few_shrink_the_library_and_say_what_more_would_bring(tmp_path, capsys, monkeypatch):
    """A slow machine, as the pilot sees it: 0.05 s for each question, whatever it is here."""
    monkeypatch.setattr(preparation, 'timed', lambda work: (work(), 0.4)[1])
    particles, references = toypairs.pairs(tmp_path, count=150, noise=0.5)
    settings = Train(output=str(tmp_path / 't'), particles=str(particles), references=str(references), minutes=0.2,
                     network='guided', evaluations=1, batch_size=8, bank_size=120, cross_fit='none', threads=1,
                     precision='float32')  # fmt: skip
    run('train', settings)
    printed = capsys.readouterr().out
    assert 'preparing the map prior takes about' in printed
    assert '64 of 150 particles' in printed
    assert 'minutes are not enough' in printed
    assert len(Model.load(tmp_path / 't' / 'model').guides['main'].bank) <= 64
    assert np.isfinite(Model.load(tmp_path / 't' / 'model').card['uncertainty']['scale'])
