"""The verb ``filter``: same rows, same identity, same result whatever the batch; errors that help."""

import json

import numpy as np
import pytest

from cryoemgan.engine.__main__ import run
from cryoemgan.engine.data.matching import match
from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.errors import InputError
from cryoemgan.engine.settings import Filter, Simulate


@pytest.fixture(scope='module')
def particles(tmp_path_factory):
    folder = tmp_path_factory.mktemp('filter') / 'set'
    settings = Simulate(output=str(folder), phantom=2, box=32, count=150, snr=0.2, ctf=True, pixel_size=6.0)
    settings.validate()
    run('simulate', settings)
    return folder


def images(path):
    table = ParticleTable.read(path)
    return table.images().read(np.arange(len(table))).astype(np.float64)


def filtered(folder, particles, **options):
    settings = Filter(output=str(folder), particles=str(particles), threads=1, **options)
    settings.validate()
    run('filter', settings)
    return images(folder / 'denoised.star'), json.loads((folder / 'summary.json').read_text())


def test_rows_identity_and_gain(particles, tmp_path):
    clean, noisy = images(particles / 'clean.star'), images(particles / 'noisy.star')
    result, summary = filtered(tmp_path / 'a', particles / 'noisy.star', method='cwf')
    assert ((result - clean) ** 2).mean() < 0.06 * ((noisy - clean) ** 2).mean()
    assert summary['noise_sd']['median'] == pytest.approx((noisy - clean).std(), rel=0.03)
    source, found = (ParticleTable.read(p) for p in (particles / 'noisy.star', tmp_path / 'a' / 'denoised.star'))
    assert (tmp_path / 'a' / 'gallery.html').exists()
    rows = match(source, found)
    assert (rows[0] == rows[1]).all()
    assert len(rows[0]) == len(source)
    assert found.provenance['method'] == 'cwf'
    assert found.provenance['ctf'] == 'full'


@pytest.mark.parametrize('method', ['cwf', 'wiener'])
def test_batches_do_not_matter(particles, tmp_path, method):
    one, _ = filtered(tmp_path / 'a', particles / 'noisy.star', method=method, batch_size=300)
    many, _ = filtered(tmp_path / 'b', particles / 'noisy.star', method=method, batch_size=37)
    # The covariance of a solver that stopped early differed by 3e-4.
    assert np.abs(one - many).max() < 5e-5 * one.std()


def test_undone_ctf_put_back_is_the_other_result(particles, tmp_path):
    from cryoemgan.engine.imaging.ctf import ctf_rfft

    full, _ = filtered(tmp_path / 'a', particles / 'noisy.star', method='wiener')
    none, summary = filtered(tmp_path / 'b', particles / 'noisy.star', method='wiener', ctf='none')
    table = ParticleTable.read(particles / 'noisy.star')
    h = ctf_rfft(32, table.pixel_size, table.ctf()).numpy()
    again = np.fft.irfft2(np.fft.rfft2(none) * h, s=(32, 32))
    assert np.abs(again - full).max() < 1e-3 * full.std()
    assert summary['ctf'] == 'none'


def test_method_that_knows_no_ctf_cannot_undo_it(particles, tmp_path):
    with pytest.raises(InputError, match='cwf or wiener'):
        filtered(tmp_path / 'a', particles / 'noisy.star', method='nlm', ctf='none')
    assert not (tmp_path / 'a').exists()


@pytest.mark.parametrize('method', ['cwf', 'wiener', 'ksvd'])
def test_later_particles_are_filtered_by_what_was_learnt(particles, tmp_path, method):
    rows = 20 if method == 'ksvd' else 150
    first = ParticleTable.read(particles / 'noisy.star').subset(range(rows))
    first.write(tmp_path / 'first.star')
    whole, _ = filtered(tmp_path / 'a', tmp_path / 'first.star', method=method)
    ParticleTable.read(tmp_path / 'first.star').subset([7, 3]).write(tmp_path / 'later.star')
    later, _ = filtered(tmp_path / 'b', tmp_path / 'later.star', method=method, learnt=str(tmp_path / 'a/learnt.npz'))
    assert np.abs(later - whole[[7, 3]]).max() < 1e-5 * whole.std()
    assert not (tmp_path / 'b' / 'learnt.npz').exists()


def test_a_filter_of_another_method_is_refused(particles, tmp_path):
    filtered(tmp_path / 'a', particles / 'noisy.star', method='wiener')
    learnt = str(tmp_path / 'a' / 'learnt.npz')
    (tmp_path / 'no.npz').write_text('nothing')
    for method, path, words in (
        ('cwf', learnt, 'learnt by wiener'),
        ('bm3d', learnt, 'learns nothing'),
        ('wiener', str(tmp_path / 'no.npz'), 'not a learnt filter'),
    ):
        with pytest.raises(InputError, match=words):
            filtered(tmp_path / 'b', particles / 'noisy.star', method=method, learnt=path)
