"""Amplitude and expected error that are told by noisy copies alone, against the truth, for an answer that is known."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from ..inference import assessment_from_copies
from .noisy_particles import COUNT, open_pairs, particles_at

pytestmark = pytest.mark.usefixtures('one_thread')

WIDTHS, AMPLITUDE = {'half1': 1.8, 'half2': 2.2}, 0.7


class Blur:
    """Stands for a Model of two fold models that blur, and answer too weakly."""

    members, guides, card = dict.fromkeys(WIDTHS), {}, {'grey': {'gain': 1.0, 'offset': 0.0}}

    def begin(self, images, member, precision='float32', opinion=None):
        return lambda: AMPLITUDE * gaussian_filter(images, (0, WIDTHS[member], WIDTHS[member]), mode='wrap')

    def ask_all(self, images, context):
        return {}

    def trained_on(self, who):
        return {name: np.zeros(COUNT, bool)[: len(who.names)] for name in self.members}


def test_known_answers_are_judged_rightly(tmp_path):
    path, truth = particles_at(tmp_path)
    pairs, _ = open_pairs(particles=path, target='self')
    task = SimpleNamespace(validation=np.arange(COUNT), settings=SimpleNamespace(seed=1, minutes=None))
    found = assessment_from_copies.assess(Blur(), pairs, [task])
    particles = pairs.raw(np.arange(COUNT))[0]
    both = np.stack([Blur().begin(particles, name)() for name in WIDTHS])
    images = found['grey']['gain'] * both.mean(0) + found['grey']['offset']
    cut = found['resolution']['cut']
    images = assessment_from_copies.cut_low(images, cut, pairs.pixel_size)
    a, b = (x - x.mean((1, 2), keepdims=True) for x in (images, truth))
    assert (a * b).sum() / (a * a).sum() == pytest.approx(1, abs=0.05)
    assert images.mean() == pytest.approx(truth.mean(), abs=0.05 * truth.std())
    spread = found['grey']['gain'] * np.diff(assessment_from_copies.cut_low(both, cut, pairs.pixel_size), axis=0)[0]
    told = found['uncertainty']
    expected = (told['floor'] ** 2 + told['scale'] ** 2 * spread.var((1, 2)).mean() / 2) ** 0.5
    assert expected == pytest.approx(np.mean((a - b) ** 2) ** 0.5, rel=0.15)
    assert 0.02 < found['uncertainty']['known_to'] < 0.15
