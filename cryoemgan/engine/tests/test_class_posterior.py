"""Which of several maps a particle shows: told by the posterior, and not by the class that a table says."""

import json

import numpy as np
import pytest
import torch

from cryoemgan.engine.__main__ import run
from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.geometry import random_matrices
from cryoemgan.engine.imaging import phantom
from cryoemgan.engine.inference.model import Model
from cryoemgan.engine.posterior.library import TemplateLibrary
from cryoemgan.engine.posterior.map_evidence import evidence_of_maps
from cryoemgan.engine.posterior.map_prior import Context
from cryoemgan.engine.posterior.sources import class_numbers
from cryoemgan.engine.settings.denoise import Denoise
from cryoemgan.engine.settings.project import Project
from cryoemgan.engine.settings.simulate import Simulate
from cryoemgan.engine.settings.train import Train
from cryoemgan.engine.tests.claw_templates import BOX, guide_of, noisy, project


def test_evidence_of_a_map_is_the_integral_over_its_gaussian():
    """Against a Monte Carlo integral of the likelihood's rest over the Gaussian that the candidates make."""
    rng = np.random.default_rng(0)
    seen, y = rng.normal(size=(1, 5, 12)), rng.normal(size=(1, 12))
    log_weight, source = rng.normal(size=(1, 5)), np.array([[0, 1, 0, 0, 1]])
    found = evidence_of_maps(*map(torch.from_numpy, (seen, y, log_weight, source)), 3, 1.6)
    for k in (0, 1):
        own = source[0] == k
        weight = np.exp(log_weight[0, own])
        part = weight / weight.sum()
        mean = part @ seen[0, own]
        ways = np.sqrt(part)[:, None] * (seen[0, own] - mean)
        images = mean + rng.normal(size=(400000, own.sum())) @ ways
        rest = np.exp((1 - 1 / 1.6) * (images @ y[0] - 0.5 * np.square(images).sum(1)))
        assert float(found[0, k]) == pytest.approx(np.log(weight.sum()) + np.log(rest.mean()), abs=0.02)
    assert found[0, 2] == -torch.inf


@pytest.mark.parametrize('snr', [0.3, 0.1])
def test_class_is_right_as_often_as_its_probability_says(snr):
    volumes = [torch.as_tensor(state.volume(BOX), dtype=torch.float32) for state in phantom.claw(2)]
    library = TemplateLibrary.from_maps(volumes, 1200)
    matrices, truth = random_matrices(160, 8), np.arange(160) % 2
    clean = torch.where(torch.from_numpy(truth)[:, None, None] == 0, project(0, matrices), project(1, matrices))
    images, sd = noisy(clean, snr)
    guide = guide_of(library, sd)
    guide.search.temperature = 2.0
    found = guide(images, Context(1.0)).classes.numpy()
    right = found.argmax(1) == truth
    assert right.mean() > {0.3: 0.9, 0.1: 0.7}[snr]
    assert right.mean() == pytest.approx(found.max(1).mean(), abs=0.08)


def test_classes_are_numbered_by_their_names():
    assert class_numbers(['map_class3', 'map_class1', 'map_volume']) == [3, 1, 0]
    assert class_numbers(['run_it025_class002', 'run_it025_class004']) == [2, 4]
    assert class_numbers(['open', 'closed']) == class_numbers(['a_class1', 'b_class1']) == [1, 2]
    assert class_numbers(['map_half1']) == [1]


@pytest.mark.slow
def test_columns_tell_classes_that_the_table_has_wrong(tmp_path):
    """A fifth of the particles are said to be of the other class: the library holds both maps for all of them."""
    run('simulate', Simulate(output=str(tmp_path / 's'), phantom=2, count=25, box=BOX, snr=0.5, ctf=True, threads=1))
    table = ParticleTable.read(tmp_path / 's' / 'noisy.star')
    truth = 2 * table.ints('rlnClassNumber') + 1
    wrong = np.arange(len(table)) % 5 == 0
    table.set('rlnClassNumber', np.where(wrong, 8 - truth, truth))
    table.write(tmp_path / 's' / 'wrong.star')
    particles = str(tmp_path / 's' / 'wrong.star')
    maps = [f'{number}={tmp_path / "s" / f"volume_{k}.mrc"}' for k, number in ((2, 5), (1, 3))]
    run('project', Project(output=str(tmp_path / 'p'), particles=particles, class_volume=maps, threads=1))
    run('train', Train(
        output=str(tmp_path / 't'), particles=particles, references=str(tmp_path / 'p' / 'references.star'),
        network='guided', iterations=4, batch_size=8, evaluations=1, bank_size=160, candidates=8, contrast_spread=0.1,
        threads=1, precision='float32', cross_fit='none', force=True,
    ))  # fmt: skip
    model = Model.load(tmp_path / 't' / 'model')
    assert model.classes == [5, 3]
    run('denoise', Denoise(output=str(tmp_path / 'd'), particles=particles, model=str(model.folder), threads=1))
    found = ParticleTable.read(tmp_path / 'd' / 'denoised.star')
    assert (found.ints('cryoemganClass') == truth).mean() > 0.9
    assert (found.ints('cryoemganClass') == truth)[wrong].mean() > 0.8
    np.testing.assert_array_equal(found.ints('rlnClassNumber'), table.ints('rlnClassNumber'))
    each = np.stack([found.floats(f'cryoemganClassProbability{number}') for number in (5, 3)])
    np.testing.assert_allclose(each.sum(0), 1, atol=1e-5)
    np.testing.assert_allclose(found.floats('cryoemganClassProbability'), each.max(0))
    told = json.loads((tmp_path / 'd' / 'summary.json').read_text())['class_counts']
    assert told['particles'] == {str(n): int((found.ints('cryoemganClass') == n).sum()) for n in (3, 5)}
