"""Noise of fresh pairs from images of the user: it is those images, at the strength of the particles' noise."""

import json

import numpy as np
import pytest

from ..__main__ import run
from ..data.table import ParticleTable
from ..errors import InputError
from ..settings.train import Train
from ..training import loading, noise_images
from ..training.fresh_pairs import FreshPairs
from ..training.noise_images import NoiseImages
from ..training.pairs import ReferencePairs
from . import toypairs

BOX, NOISE = 32, 1.5


def empty(path, count=40, box=BOX, seed=5, scale=1.0, **options):
    """Images of noise that is not Gaussian: one-sided exponential."""
    images = scale * np.random.default_rng(seed).exponential(1.0, (count, box, box)) + 3
    return toypairs.write(path, images.astype(np.float32), **options)


@pytest.fixture(scope='module')
def pairs(tmp_path_factory):
    folder = tmp_path_factory.mktemp('data')
    pairs = ReferencePairs(*(ParticleTable.read(p) for p in toypairs.pairs(folder, count=300, noise=NOISE)))
    pairs.fit_grey_scale()
    return pairs


def source(pairs, path, seed=3, box=BOX):
    return NoiseImages(ParticleTable.read(path), box, toypairs.PIXEL_SIZE, box, seed)


def noise_of(pairs, found, number=0, count=60):
    """Noise of a draw in the particles' grey values."""
    fresh = FreshPairs(pairs, np.arange(len(pairs)), 3, (), found)
    positions = np.arange(count) % len(pairs)
    references = positions, loading.read(pairs, positions).clean
    noisy, pure = (fresh.draw(number, count, np.arange(count), level, references)[0] for level in (1.0, 0.0))
    return pairs.scale.sd * (noisy - pure)[:, 0].numpy()


def test_noise_is_made_of_the_images(tmp_path, pairs):
    """Same box: the pixels of every noise field are those of one image, in another order, times one factor."""
    path = empty(tmp_path / 'noise.star')
    images = ParticleTable.read(path).images().read(np.arange(40))
    known = np.sort((images - images.mean(axis=(1, 2), keepdims=True)).reshape(40, -1), axis=1)
    noise = noise_of(pairs, source(pairs, path))
    assert noise.std() == pytest.approx(NOISE, rel=0.03)
    made = np.sort(noise.reshape(60, -1), axis=1) / (NOISE / images.std())
    distance = np.abs(made[:, None] - known).max(axis=2)
    assert distance.min(axis=1).max() < 0.15
    assert np.median(distance) > 0.5
    # Turned in all eight ways: hardly two of 60 draws from 40 images are alike.
    assert len(np.unique(noise[:, 10, 12])) > 50


def test_larger_images_are_cut_and_keep_their_spectrum(tmp_path, pairs):
    rng = np.random.default_rng(0)
    white = rng.standard_normal((60, 50, 50))
    images = (white + np.roll(white, 1, -1) + np.roll(white, 1, -2)).astype(np.float32)
    path = toypairs.write(tmp_path / 'noise.star', images)
    noise = noise_of(pairs, source(pairs, path), count=300)
    # Neighbours correlate by 1/3 along both axes, pixels further apart (2, 0) not at all.
    for shift, truth in (((0, 1), 1 / 3), ((1, 0), 1 / 3), ((2, 0), 0.0)):
        a, b = noise[:, : BOX - shift[0], : BOX - shift[1]], noise[:, shift[0] :, shift[1] :]
        assert (a * b).mean() / noise.var() == pytest.approx(truth, abs=0.03)


def test_draws_depend_on_seed_and_number_only(tmp_path, pairs, monkeypatch):
    """Also when the set is larger than what is kept in memory."""
    monkeypatch.setattr(noise_images, 'KEPT_PIXELS', 8 * BOX**2)
    path = empty(tmp_path / 'noise.star')
    one, two = source(pairs, path), source(pairs, path)
    noise_of(pairs, one, 0)
    np.testing.assert_array_equal(noise_of(pairs, one, 900, 8), noise_of(pairs, two, 900, 8))
    assert not np.array_equal(noise_of(pairs, one, 901, 8), noise_of(pairs, one, 900, 8))
    assert not np.array_equal(noise_of(pairs, source(pairs, path, seed=4), 900, 8), noise_of(pairs, one, 900, 8))


def test_images_that_cannot_be_the_noise_are_refused(tmp_path, pairs):
    with pytest.raises(InputError, match="extract them at the particles' pixel size"):
        source(pairs, empty(tmp_path / 'a.star', pixel_size=4.0))
    with pytest.raises(InputError, match='24 px for particles of 32 px'):
        source(pairs, empty(tmp_path / 'b.star', box=24))
    with pytest.raises(InputError, match='constant'):
        source(pairs, empty(tmp_path / 'c.star', scale=0.0))


def train(folder, particles, references, **options):
    settings = dict(network='equivariant', iterations=3, evaluations=1, batch_size=8, threads=1, precision='float32',
                    cross_fit='none', fresh_fraction=0.5)  # fmt: skip
    run('train', Train(output=str(folder), particles=particles, references=references, **{**settings, **options}))
    return json.loads((folder / 'summary.json').read_text())


def test_training_takes_them_and_says_when_they_are_not_empty(tmp_path):
    particles, references = (str(p) for p in toypairs.pairs(tmp_path / 'data'))
    noise = str(empty(tmp_path / 'noise' / 'noise.star', box=40))
    found = train(tmp_path / 'a', particles, references, noise_particles=noise)
    assert noise in [i['path'] for i in found['inputs']]
    assert not any('empty' in w for w in found['warnings'])
    # The particles themselves: the blobs are around the centre of every image.
    found = train(tmp_path / 'b', particles, references, noise_particles=particles)
    assert any('Are they empty?' in w for w in found['warnings'])
    other = str(empty(tmp_path / 'other' / 'noise.star', seed=6))
    with pytest.raises(InputError, match='noise-particles'):
        train(tmp_path / 'a', particles, references, noise_particles=other, resume=True, iterations=5)
    with pytest.raises(InputError, match='--fresh-fraction'):
        train(tmp_path / 'c', particles, references, noise_particles=noise, fresh_fraction=0.0)
