"""Particles that no fold model knows are compared with the references of all of them at once."""

import json
import shutil

import numpy as np
import pytest
import torch

from ..__main__ import run
from ..data.table import ParticleTable
from ..geometry import random_matrices
from ..inference import noise_response
from ..inference.model import Model
from ..posterior.context import Context
from ..posterior.joint_library import ALL, are_apart, joint_prior
from ..posterior.library import TemplateLibrary
from ..settings.denoise import Denoise
from ..settings.simulate import Simulate
from ..settings.train import Train
from .claw_templates import BOX, guide_of, noisy, project

pytestmark = pytest.mark.usefixtures('one_thread')

OLD, NEW = 300, 80


@pytest.fixture(scope='module')
def libraries():
    """Libraries of two halves of the references, and of all of them."""
    matrices = random_matrices(600, 1)
    images, matrices = project(0, matrices), torch.as_tensor(matrices).float()
    halves = [TemplateLibrary.from_images(images[k::2], matrices[k::2]) for k in (0, 1)]
    return *halves, TemplateLibrary.from_images(images, matrices)


def test_joint_answers_are_those_of_a_library_of_all(libraries):
    clean = project(0, random_matrices(80, 2))
    images, sd = noisy(clean, 0.5)
    priors = [guide_of(bank, sd) for bank in libraries]
    first, second, whole = (prior(images, Context(1.0)) for prior in priors)
    joint = joint_prior(priors[:2])(images, Context(1.0))

    def error(found):
        return float((found - clean).square().mean() / clean.var())

    # The order of templates decides between equally good candidates.
    assert error(joint.mean) == pytest.approx(error(whole.mean), rel=0.03)
    assert float((joint.mean - whole.mean).square().mean()) < 0.05 * float((whole.mean - clean).square().mean())
    torch.testing.assert_close(joint.evidence, whole.evidence, rtol=0.02, atol=0.3)
    assert error(joint.mean) < 0.9 * error((first.mean + second.mean) / 2)


def test_projections_of_a_map_at_the_same_views_are_nothing_to_join(libraries):
    first, second, _ = libraries
    assert are_apart([first, second])
    assert not are_apart([first])
    grids = [TemplateLibrary.from_maps([k * torch.ones(BOX, BOX, BOX)], 60) for k in (1.0, 2.0)]
    assert not are_apart(grids)
    assert not are_apart([first, second, first])


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A model of references, that knows all but NEW of the particles; tables of those, and of all."""
    folder = tmp_path_factory.mktemp('joint')
    run('simulate', Simulate(output=str(folder / 's'), phantom=1, count=OLD + NEW, box=BOX, snr=0.5, threads=1))
    rows = np.arange(OLD + NEW)
    for name, kept in (('old', rows[NEW:]), ('new', rows[:NEW])):
        for kind in ('noisy', 'clean'):
            ParticleTable.read(folder / 's' / f'{kind}.star').subset(kept).write(folder / f'{name}_{kind}.star')
    paths = dict(particles=str(folder / 'old_noisy.star'), references=str(folder / 'old_clean.star'))
    with pytest.MonkeyPatch.context() as fewer:
        fewer.setattr(noise_response, 'RIGHT', 100)
        fewer.setattr(noise_response, 'COUNT', 40)
        train(folder, paths)
    alone = folder / 'alone'
    shutil.copytree(folder / 't' / 'model', alone)
    card = json.loads((alone / 'card.json').read_text())
    del card['joint'], card['checksum']
    (alone / 'card.json').write_text(json.dumps(card))
    return folder


def train(folder, paths):
    run('train', Train(output=str(folder / 't'), network='guided', cross_fit='folds', iterations=1, evaluations=1,
                       batch_size=8, validation_fraction=0.2, candidates=16, threads=1, precision='float32',
                       **paths))  # fmt: skip


def denoised(folder, model, particles, **options):
    output = folder / f'{model.parent.name}_{model.name}_{particles.stem}_{len(options)}'
    found = run('denoise', Denoise(output=str(output), model=str(model), particles=str(particles), threads=1,
                                   precision='float32', cut='none', overwrite=True, **options))  # fmt: skip
    table = ParticleTable.read(output / 'denoised.star')
    return found, table, table.images().read(np.arange(len(table)))


def squared(images, truth):
    left = images - truth
    return (left - left.mean((1, 2), keepdims=True)) ** 2


@pytest.mark.slow
def test_new_particles_gain_what_training_says(trained):
    truth = ParticleTable.read(trained / 'new_clean.star').images().read(np.arange(NEW))
    model = Model.load(trained / 't' / 'model')
    found, table, images = denoised(trained, model.folder, trained / 'new_noisy.star')
    _, _, mean = denoised(trained, trained / 'alone', trained / 'new_noisy.star')
    errors, before = (squared(x, truth).mean((1, 2)) for x in (images, mean))
    assert 1 - errors.mean() / before.mean() == pytest.approx(model.card['joint']['gain'], abs=0.08)
    assert errors.mean() < 0.95 * before.mean()
    assert found['leakage'] == 0
    # What is said of them is that of the joint answer: its p-value, threshold and expected error.
    asked = model.posterior(ParticleTable.read(trained / 'new_noisy.star').images().read(np.arange(NEW)),
                            Context(table.pixel_size), ALL)  # fmt: skip
    np.testing.assert_allclose(table.floats('cryoemganEvidence'), asked.evidence.numpy(), rtol=1e-2, atol=0.1)
    assert (table.floats('cryoemganFit') < 0.05).mean() < 0.12
    assert found['evidence_threshold'] == pytest.approx(model.card['joint']['evidence'])
    expected = table.floats('cryoemganUncertainty') * images.std((1, 2))
    assert np.sqrt((expected**2).mean() / errors.mean()) == pytest.approx(1, abs=0.2)


@pytest.mark.slow
def test_particles_of_training_are_left_to_the_model_that_never_saw_them(trained):
    together = trained / 'both.star'
    source = ParticleTable.read(trained / 's' / 'noisy.star')
    # Old and new ones in one batch.
    rows = np.r_[NEW - 10 : NEW + 10]
    source.subset(rows).write(together)
    joint, alone = (denoised(trained, m, together) for m in (trained / 't' / 'model', trained / 'alone'))
    np.testing.assert_allclose(joint[2][10:], alone[2][10:], atol=1e-5)
    assert not np.allclose(joint[2][:10], alone[2][:10], atol=1e-3)
    quick = denoised(trained, trained / 't' / 'model', together, uncertainty=False)
    np.testing.assert_allclose(quick[2], joint[2], atol=1e-4)
    np.testing.assert_allclose(quick[1].floats('cryoemganFit'), joint[1].floats('cryoemganFit'), atol=1e-3)
    only_new = denoised(trained, trained / 't' / 'model', trained / 'new_noisy.star')[2][NEW - 10 :]
    np.testing.assert_allclose(joint[2][:10], only_new, atol=1e-4)
