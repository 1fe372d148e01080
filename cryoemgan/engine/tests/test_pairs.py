"""Pairing of particles with references, grey scales, and what is refused before training."""

import mrcfile
import numpy as np
import pytest
import torch

from ..data.table import ParticleTable
from ..errors import InputError
from ..training import loading
from ..training.pairs import Contaminated, ReferencePairs
from . import toypairs


def read(pairs, positions):
    found = loading.read(pairs, np.asarray(positions))
    return found.noisy, found.clean


def opened(folder, box=None, **options):
    paths = toypairs.pairs(folder, **options)
    return ReferencePairs(*(ParticleTable.read(p) for p in paths), box)


def test_grey_scale_is_fitted_and_units_span_the_references(tmp_path):
    pairs = opened(tmp_path, count=200, noise=1.0)
    assert pairs.fit_grey_scale() == 0
    s = pairs.scale
    # 200 x 1024 pixels of noise 1 on references of variance 0.03: a standard error of 0.013.
    assert s.gain == pytest.approx(toypairs.GAIN, abs=0.05)
    assert s.offset == pytest.approx(toypairs.OFFSET, abs=0.02)
    noisy, clean = read(pairs, np.arange(200))
    assert (clean.min(), clean.max()) == (pytest.approx(0, abs=1e-6), pytest.approx(1, abs=1e-6))
    assert noisy.mean() == pytest.approx(0, abs=1e-5)
    assert noisy.std() == pytest.approx(1, abs=1e-5)
    a, b = s.signal()
    assert (noisy - a * clean - b).mean() == pytest.approx(0, abs=1e-4)
    assert float((noisy - a * clean - b).std()) * s.sd == pytest.approx(1.0, abs=0.01)


def test_outlying_particles_do_not_move_the_grey_scale(tmp_path):
    clean, _ = toypairs.blobs(100, 32, 0)
    noisy = toypairs.GAIN * clean + np.random.default_rng(0).standard_normal(clean.shape).astype(np.float32)
    noisy[:3] *= -300
    particles = ParticleTable.read(toypairs.write(tmp_path / 'p.star', noisy, map(str, range(100))))
    references = ParticleTable.read(toypairs.write(tmp_path / 'r.star', clean, map(str, range(100))))
    pairs = ReferencePairs(particles, references)
    pairs.fit_grey_scale()
    assert pairs.scale.gain == pytest.approx(toypairs.GAIN, abs=0.1)
    assert pairs.scale.sd < 2


def test_rows_in_another_order_give_the_same_pairs(tmp_path):
    order = np.random.default_rng(3).permutation(120)
    straight, shuffled = opened(tmp_path / 'a'), opened(tmp_path / 'b', order=order)
    for p in (straight, shuffled):
        p.fit_grey_scale()
    # (The reference that stands for "any other" differs only in chunks; here all are one chunk.)
    assert straight.scale == shuffled.scale
    for a, b in zip(read(straight, np.arange(120)), read(shuffled, np.arange(120))):
        assert torch.equal(a, b)


def test_particles_without_reference_are_counted(tmp_path):
    pairs = opened(tmp_path, order=np.arange(0, 120, 2))
    assert (len(pairs), pairs.unmatched) == (60, (60, 0))
    assert pairs.names([1]) == ['3@mic.mrcs']


def test_inverted_contrast_is_refused_and_fixed_on_request(tmp_path):
    pairs = opened(tmp_path, gain=-toypairs.GAIN)
    with pytest.raises(InputError, match=r'contrast is inverted.*--invert-contrast'):
        pairs.fit_grey_scale()
    pairs.fit_grey_scale(invert=True)
    s = pairs.scale
    assert s.gain == pytest.approx(-toypairs.GAIN, abs=0.06)
    assert s.offset == pytest.approx(toypairs.OFFSET, abs=0.02)
    noisy, clean = read(pairs, np.arange(120))
    assert np.corrcoef(noisy.ravel(), clean.ravel())[0, 1] > 0.2
    assert s.signal()[0] > 0
    # Back from network units to the particles' own grey.
    raw = pairs.raw([0])[1]
    assert np.allclose((clean[0] - s.unit_offset) / s.unit_scale, raw, atol=1e-5)


def test_inverting_what_is_not_inverted_is_refused(tmp_path):
    with pytest.raises(InputError, match='leave out --invert-contrast'):
        opened(tmp_path).fit_grey_scale(invert=True)


def test_references_of_other_particles_are_refused_unless_forced(tmp_path):
    clean, _ = toypairs.blobs(120, 32, 0)
    other, _ = toypairs.blobs(120, 32, 50)
    noisy = clean + np.random.default_rng(0).standard_normal(clean.shape).astype(np.float32)
    names = [str(i) for i in range(120)]
    tables = [
        ParticleTable.read(toypairs.write(tmp_path / f'{n}.star', x, names)) for n, x in (('p', noisy), ('r', other))
    ]
    with pytest.raises(InputError, match='do not belong'):
        ReferencePairs(*tables).fit_grey_scale()
    pairs = ReferencePairs(*tables)
    pairs.fit_grey_scale(force=True)
    assert pairs.scale is not None


def test_constant_images_are_left_out_and_nan_is_refused(tmp_path):
    clean, _ = toypairs.blobs(50, 32, 0)
    noisy = clean + np.random.default_rng(0).standard_normal(clean.shape).astype(np.float32)
    noisy[7], clean[9] = 4.0, 0.0
    names = [str(i) for i in range(50)]
    references = ParticleTable.read(toypairs.write(tmp_path / 'r.star', clean, names))
    pairs = ReferencePairs(ParticleTable.read(toypairs.write(tmp_path / 'p.star', noisy, names)), references)
    assert pairs.fit_grey_scale() == 2
    assert len(pairs) == 48
    assert not {'7', '9'} & set(pairs.names(np.arange(48)))
    toypairs.write(tmp_path / 'n.star', noisy, names)
    with mrcfile.open(tmp_path / 'n.mrcs', 'r+') as mrc:
        mrc.data[3, 5, 5] = np.nan
    broken = ReferencePairs(ParticleTable.read(tmp_path / 'n.star'), references)
    with pytest.raises(InputError, match='row 4'):
        broken.fit_grey_scale()


def test_other_field_of_view_is_refused_and_other_box_is_resampled(tmp_path):
    clean, centres = toypairs.blobs(40, 64, 0)
    names = [str(i) for i in range(40)]
    particles = ParticleTable.read(toypairs.write(tmp_path / 'p.star', clean, names, 1.5))
    wrong = ParticleTable.read(toypairs.write(tmp_path / 'w.star', clean, names, 2.0))
    with pytest.raises(InputError, match='Project the map again'):
        ReferencePairs(particles, wrong)
    small = ParticleTable.read(toypairs.write(tmp_path / 's.star', toypairs.draw(centres / 2, 32), names, 3.0))
    pairs = ReferencePairs(particles, small, 48)
    assert (pairs.box, pairs.pixel_size) == (48, pytest.approx(2.0))
    noisy, references = pairs.raw(np.arange(40))
    assert noisy.shape == references.shape == (40, 48, 48)
    assert np.abs(noisy - toypairs.draw(centres * 0.75, 48)).max() < 1e-2
    assert np.abs(noisy - references).max() < 1e-2


def test_a_resampled_pair_is_the_resampled_images(tmp_path):
    """On the device by products of matrices, for the checks by transforms."""
    pairs = opened(tmp_path, box=24)
    pairs.fit_grey_scale()
    s, positions = pairs.scale, np.arange(5)
    raw = pairs.raw(positions)
    noisy, clean = (x[:, 0].numpy() for x in read(pairs, positions))
    assert np.abs(noisy - (raw[0] - s.mean) / s.sd).max() < 1e-5
    assert np.abs(clean - (s.unit_scale * raw[1] + s.unit_offset)).max() < 1e-5


def test_contamination_replaces_exactly_the_chosen(tmp_path):
    pairs = opened(tmp_path)
    pairs.fit_grey_scale()
    before = read(pairs, np.arange(120))
    pairs.contaminate(Contaminated('references', 'uniform', np.array([5, 17]), 1))
    noisy, clean = read(pairs, np.arange(120))
    assert torch.equal(noisy, before[0])
    assert torch.nonzero((clean != before[1]).flatten(1).any(1)).flatten().tolist() == [5, 17]
    assert torch.equal(clean[17], read(pairs, np.array([17]))[1][0])
    pairs.contaminate(Contaminated('both', 'gaussian', np.array([5]), 1))
    noisy, clean = read(pairs, np.arange(10))
    assert noisy[5].std() == pytest.approx(1, abs=0.1)
    assert clean[5].std() == pytest.approx(pairs.scale.unit_sd, rel=0.1)
