"""Pages of a gallery for a window: sorted by a score, and quick."""

import time

import numpy as np
import pytest

from cryoemgan import figures
from cryoemgan.engine.data.scores import BY_NAME
from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.tests.test_figures import texts, write_set


@pytest.fixture
def scored(tmp_path):
    """80 particles of 64 px whose brightness falls with their fit, and their fits."""
    fit = np.random.default_rng(0).permutation(80) / 80
    images = np.random.default_rng(1).normal(size=(80, 64, 64)).astype(np.float32)
    noisy = write_set(tmp_path, 'noisy', images)
    denoised = write_set(tmp_path, 'denoised', images + 1, [f'{i + 1}@noisy.mrcs' for i in range(80)])
    table = ParticleTable.read(denoised)
    table.set('cryoemganFit', fit)
    table.write(denoised)
    return {'noisy': noisy, 'denoised': denoised}, fit


def test_worst_come_first_with_their_number(scored):
    sets, fit = scored
    gallery = figures.Gallery(sets, per_page=10, sort_by=BY_NAME['fit'])
    worst = np.argsort(fit)
    assert gallery.names(gallery._on_page(2)) == [f'{i + 1}@noisy.mrcs' for i in worst[10:20]]
    assert f'#{worst[0] + 1}  {fit[worst[0]]:.3g}' in texts(gallery.page(1))
    with pytest.raises(ValueError, match='evidence'):
        figures.Gallery(sets, sort_by=BY_NAME['evidence'])


def test_a_page_is_drawn_quickly(scored):
    gallery = figures.Gallery(scored[0], per_page=36, sort_by=BY_NAME['fit'])
    start = time.process_time()
    picture = gallery.page_image(1)
    # Of this process, which a busy machine does not stretch.
    assert time.process_time() - start < 0.3
    assert min(picture.size) > 400
    assert np.asarray(picture).std() > 20


def test_titles_are_not_cut():
    assert figures.gallery._heading('guided by the map') == ['guided by the', 'map']
    assert figures.gallery._heading('') == ['']
