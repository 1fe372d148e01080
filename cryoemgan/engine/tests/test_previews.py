"""Previews of a training: particles kept out of it, as the best networks so far show them."""

import shutil

import numpy as np
import pytest
import torch

from ... import figures
from ..__main__ import run
from ..data.table import ParticleTable
from ..inference.model import Model
from ..settings.train import Train
from ..training import previews
from . import toypairs

pytestmark = pytest.mark.usefixtures('one_thread')


def train(folder, inputs, **options):
    settings = Train(
        output=str(folder), network='residual', cross_fit='folds', batch_size=8, threads=1, precision='float32',
        **{'iterations': 3, 'evaluations': 2, **inputs, **options},
    )  # fmt: skip
    settings.validate()
    return run('train', settings)


@pytest.fixture(scope='module')
def inputs(tmp_path_factory):
    names = ('particles', 'references')
    return dict(zip(names, map(str, toypairs.pairs(tmp_path_factory.mktemp('data'), count=40))))


@pytest.fixture(scope='module')
def trained(tmp_path_factory, inputs):
    folder = tmp_path_factory.mktemp('run') / 'o'
    train(folder, inputs)
    return folder


def test_previews_are_what_the_best_networks_make_of_particles_kept_out(trained):
    model, found = Model.load(trained / 'model'), figures.preview_tables(trained)
    assert list(found) == ['without1', 'without2']
    page = (trained / 'gallery.html').read_text()
    for name, tables in found.items():
        noisy, denoised, references = (ParticleTable.read(path) for path in tables.values())
        assert noisy.names() == references.names()
        images, shown = (t.images().read(np.arange(len(t))) for t in (noisy, denoised))
        seen = (images - model.card['input']['mean']) / model.card['input']['sd']
        with torch.no_grad():
            made = model.members[name](torch.from_numpy(seen.astype(np.float32))[:, None])[:, 0].numpy()
        assert np.corrcoef(made.ravel(), shown.ravel())[0, 1] > 0.99999
        assert f'Network {name}, iteration {denoised.provenance["iteration"]}' in page
    assert 'not for the final refinement' in page


def test_previews_that_were_lost_are_drawn_again(trained, inputs, tmp_path):
    folder = shutil.copytree(trained, tmp_path / 'o')
    (folder / 'gallery.html').unlink()
    train(folder, inputs, resume=True)
    assert (folder / 'gallery.html').read_bytes() == (trained / 'gallery.html').read_bytes()


def test_the_last_are_drawn_however_soon_they_come(inputs, tmp_path, monkeypatch):
    """Between two drawings some seconds pass; what waits is drawn at the end."""
    monkeypatch.setattr(previews, 'SECONDS', 1e9)
    found = train(tmp_path / 'o', inputs, iterations=4, evaluations=4)
    for name, tables in figures.preview_tables(tmp_path / 'o').items():
        shown = ParticleTable.read(tables['denoised']).provenance['iteration']
        assert int(shown) == found['members'][name]['best']['iteration']
