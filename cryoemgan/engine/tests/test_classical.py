"""Classical denoisers against closed forms, planted truths and numbers of the reference implementations."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from skimage.restoration import denoise_nl_means

from cryoemgan.engine.classical import METHODS, create, ksvd
from cryoemgan.engine.classical.base import Batch, corner_noise, profile_frequencies, radial_ctf
from cryoemgan.engine.classical.cwf import _shrunk
from cryoemgan.engine.classical.ksvd import codes, learn
from cryoemgan.engine.imaging.ctf import ctf_rfft
from cryoemgan.engine.imaging.fourierbessel import FourierBessel
from cryoemgan.engine.imaging.phantom import claw


def whole(images, sd, transfer=None, profile=None):
    return Batch(images.astype(np.float32), np.full(len(images), sd), transfer, profile)


def coloured(box, count, power, rng):
    """Gaussian images whose coefficients of frequency k (cycles/box) have variance power(k) * box^2."""
    k = np.hypot(np.fft.fftfreq(box)[:, None], np.fft.rfftfreq(box)) * box
    white = np.fft.rfft2(rng.normal(size=(count, box, box)))
    return np.fft.irfft2(white * np.sqrt(power(k)), s=(box, box)), power(k)


@pytest.fixture(scope='module')
def phantom():
    """600 projections of a claw in two states at 32 px, scaled to s.d. 1 over the set."""
    rotations = Rotation.random(600, random_state=0).as_matrix()
    images = np.concatenate([p.project(32, rotations[i::2]) for i, p in enumerate(claw(2))])
    return images / images.std()


# Noise


def test_noise_from_the_corners(phantom):
    rng = np.random.default_rng(0)
    mean, sd = corner_noise(phantom + 5 + 3 * rng.normal(size=phantom.shape))
    pixels = (np.hypot(*np.mgrid[-16:16, -16:16]) >= 16).sum()
    assert sd.mean() == pytest.approx(3, rel=0.01)
    # One image's s.d. is known to 1 / sqrt(2 pixels).
    assert sd.std() == pytest.approx(3 / np.sqrt(2 * pixels), rel=0.15)
    assert mean.mean() == pytest.approx(5, abs=0.03)


# Wiener


def test_wiener_reaches_its_closed_form():
    """Gaussian signal of power P in white noise N: the error is the sum of P N / (P + N)."""
    rng, box, noise = np.random.default_rng(1), 32, 1.0
    clean, power = coloured(box, 1500, lambda k: 20 / (1 + (k / 3) ** 4), rng)
    batch = whole(clean + noise * rng.normal(size=clean.shape), noise)
    method = create('wiener', box)
    method.fit(lambda: iter([batch]))
    full = np.concatenate([power, power[:, -2:0:-1]], axis=1)
    assert ((method.denoise(batch) - clean) ** 2).mean() == pytest.approx((full / (full + 1)).mean(), rel=0.03)


def test_wiener_undoes_a_known_ctf():
    rng, box = np.random.default_rng(2), 32
    clean, power = coloured(box, 1200, lambda k: 20 / (1 + (k / 3) ** 4), rng)
    params = microscope(1200, rng)
    h = ctf_rfft(box, 4.0, params).numpy()
    seen = np.fft.irfft2(np.fft.rfft2(clean) * h, s=(box, box))
    batch = whole(seen + 0.5 * rng.normal(size=clean.shape), 0.5, h)
    method = create('wiener', box)
    method.fit(lambda: iter([batch]))
    expected = (power * 0.25 / (h**2 * power + 0.25)).mean(0)
    expected = np.concatenate([expected, expected[:, -2:0:-1]], axis=1).mean()
    assert ((method.denoise(batch) - clean) ** 2).mean() == pytest.approx(expected, rel=0.05)


# Non-local means


def test_nlm_is_scikit_image(phantom):
    batch = whole(phantom[:1] + np.random.default_rng(3).normal(size=(1, 32, 32)), 1.0)
    direct = denoise_nl_means(batch.images[0].astype(float), patch_size=11, patch_distance=11, h=0.5, sigma=1.0)
    assert np.abs(create('nlm', 32).denoise(batch)[0] - direct).max() < 1e-5


# K-SVD


def test_ksvd_recovers_a_planted_dictionary():
    """Aharon 2006, V.A: signals of three of 50 atoms in 20 dimensions at 20 dB; nine atoms of ten come back."""
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(20, 50))
    truth /= np.linalg.norm(truth, axis=0)
    gamma = np.zeros((50, 1500))
    for n in range(1500):
        gamma[rng.choice(50, 3, replace=False), n] = rng.normal(size=3)
    signals = (truth @ gamma).T
    noise = rng.normal(size=signals.shape)
    noise *= np.linalg.norm(signals) / np.linalg.norm(noise) / 10
    signals = signals + noise
    start = signals[rng.choice(1500, 50, replace=False)].T

    def three_atoms(patches, dictionary):
        from sklearn.linear_model import orthogonal_mp_gram

        return orthogonal_mp_gram(dictionary.T @ dictionary, dictionary.T @ patches.T, n_nonzero_coefs=3)

    start = start / np.linalg.norm(start, axis=0)
    found = learn(signals, start, 40, three_atoms, rng)
    assert (np.abs(truth.T @ found).max(axis=1) > 0.99).mean() >= 0.85
    assert (np.abs(truth.T @ start).max(axis=1) > 0.99).mean() < 0.1


def test_sparse_codes_stop_at_the_noise():
    rng = np.random.default_rng(0)
    dictionary = np.linalg.qr(rng.normal(size=(16, 16)))[0]
    signals = rng.normal(size=(30, 16)) * rng.uniform(0.1, 3, (30, 1))
    budget = rng.uniform(0.5, 4, 30)
    left = ((signals.T - dictionary @ codes(signals, dictionary, budget)) ** 2).sum(0)
    assert (left <= budget + 1e-9).all()
    # Orthonormal atoms: the fewest are known.
    ordered = np.cumsum(np.sort((signals @ dictionary) ** 2, axis=1), axis=1)
    fewest = 16 - (ordered <= budget[:, None]).sum(1)
    assert ((codes(signals, dictionary, budget) != 0).sum(0) == fewest).all()


# Covariance Wiener filter


@pytest.mark.parametrize('box', [32, 33])
def test_fourier_bessel_turns_by_phases(box):
    """Expand, turn by a quarter: cosine and sine parts mix by the angle k * 90 degrees; white noise stays white."""
    basis = FourierBessel(box)
    rng = np.random.default_rng(0)
    image = claw(1)[0].project(box, np.eye(3)[None])
    image /= image.std()
    given = basis.expand(image)
    back = basis.evaluate(given).numpy()
    assert np.abs(back - image).max() < 0.02 * np.abs(image).max()
    # Exact quarter turn about the origin at box // 2; row and column 0 of an even box lie outside the disc.
    turned = np.zeros_like(image)
    inner = slice(1 - box % 2, None)
    turned[:, inner, inner] = np.rot90(image[:, inner, inner], axes=(1, 2))
    after = basis.expand(turned)
    for k in (1, 2, 3, 6):
        cosine, sine = np.cos(k * np.pi / 2), np.sin(k * np.pi / 2)
        a, b = given[k][0]
        options = [torch.stack([cosine * a - s * sine * b, s * sine * a + cosine * b]) for s in (1, -1)]
        assert min((after[k][0] - o).abs().max() for o in options) < 1e-3
    noise = basis.expand(rng.normal(size=(400, box, box)))
    assert all(0.85 < float(noise[k].var()) < 1.15 for k in (0, 1, 5, 20))


def test_shrinkage_of_a_spiked_covariance():
    """A spike l in white noise, n = 2 p: its observed eigenvalue is (1 + l)(1 + ratio / l); shrinking finds l cos^2."""
    ratio, spike = 0.5, 4.0
    observed = (1 + spike) * (1 + ratio / spike)
    cosine2 = (1 - ratio / spike**2) / (1 + ratio / spike)
    inside = (1 + np.sqrt(ratio)) ** 2
    assert _shrunk(np.array([observed, inside, 0.3]), ratio) == pytest.approx([spike * cosine2, 0, 0])


def planted(box, count, rng):
    """Images with three random components an angular frequency; their coefficients and covariances."""
    basis = FourierBessel(box)
    coefficients, factors = [torch.zeros(count, 1 if k == 0 else 2, len(z)) for k, z in enumerate(basis.zeros)], {}
    for k in range(6):
        q = len(basis.zeros[k])
        factor = np.linalg.qr(rng.normal(size=(q, 3)))[0] * [6, 4, 2]
        # Components of low frequency only: what a CTF near Nyquist does is not the question here.
        factors[k] = factor
        parts = coefficients[k].shape[1]
        values = rng.normal(size=(count, parts, 3)) @ factor.T
        coefficients[k] = torch.from_numpy(values.astype(np.float32))
    return basis.evaluate(coefficients).numpy(), factors


def test_cwf_reaches_the_error_of_a_known_covariance():
    """Posterior of a Gaussian: per component l sigma^2 / (l + sigma^2), the rest known to be zero."""
    rng, box, sd = np.random.default_rng(4), 32, 2.0
    clean, factors = planted(box, 4000, rng)
    batch = whole(clean + sd * rng.normal(size=clean.shape), sd)
    method = create('cwf', box)
    method.fit(lambda: iter([batch]))
    variances = np.array([36.0, 16, 4])
    parts = sum(1 if k == 0 else 2 for k in factors)
    best = parts * (variances * sd**2 / (variances + sd**2)).sum() / box**2
    mse = ((method.denoise(batch) - clean) ** 2).mean()
    assert best * 0.97 < mse < best * 1.1


def microscope(count, rng):
    defocus = rng.uniform(8000, 20000, count)
    full = {n: np.full(count, v) for n, v in (('voltage', 300.0), ('cs', 2.7), ('amplitude_contrast', 0.1))}
    zero = {n: np.zeros(count) for n in ('defocus_angle', 'phase_shift', 'b_factor')}
    return {'defocus_u': defocus, 'defocus_v': defocus.copy(), **full, **zero}


def test_profile_is_the_grid_of_the_same_ctf():
    params = microscope(3, np.random.default_rng(0))
    params['b_factor'] = np.array([0.0, 80.0, 200.0])
    line, grid = radial_ctf(32, 3.0, params), ctf_rfft(256, 3.0, params).numpy()
    # Frequencies (2 j + 1) / 256 of the profile lie on the x axis of a grid of 256 px.
    assert profile_frequencies(32)[10] == pytest.approx(21 / 256)
    assert np.abs(line[:, :64] - grid[:, 0, 1:128:2]).max() < 1e-4


def test_cwf_with_ctf(phantom):
    """Near the error of a known covariance.

    The bound comes from the same filter told the clean images' covariance and mean.
    """
    rng, box, sd = np.random.default_rng(5), 32, 1.0
    clean = phantom
    params = microscope(len(clean), rng)
    grid, line = ctf_rfft(box, 8.0, params).numpy(), radial_ctf(box, 8.0, params)
    seen = np.fft.irfft2(np.fft.rfft2(clean) * grid, s=(box, box))
    batch = whole(seen + sd * rng.normal(size=clean.shape), sd, grid, line)
    method, wiener, told = create('cwf', box), create('wiener', box), create('cwf', box)
    for m in (method, wiener):
        m.fit(lambda: iter([batch]))
    told.fit(lambda: iter([whole(clean, 1e-3)]))

    def error(m):
        estimate = np.fft.irfft2(np.fft.rfft2(m.denoise(batch)) * grid, s=(box, box))
        return ((estimate - seen) ** 2).mean()

    assert error(told) < error(method) < 1.35 * error(told)
    assert error(method) < 0.7 * error(wiener)


# BM3D


def test_bm3d_of_a_constant_keeps_it():
    image = np.full((1, 32, 32), 7.0)
    assert np.abs(create('bm3d', 32).denoise(whole(image, 0.1)) - 7).max() < 1e-4


# MSE of bm3d 4.0.1 (four images) and of ASPIRE 0.14.3's covariance Wiener filter (1200 images), measured by
# benchmarks/studies/reference_filters.py on the phantom that the test makes again.
REFERENCE = {('bm3d', 0.1): 0.09327, ('bm3d', 0.5): 0.03024, ('cwf', 0.1): 0.09333, ('cwf', 0.5): 0.03105}


@pytest.mark.parametrize('snr', [0.1, 0.5])
def test_as_good_as_the_reference_implementations(snr):
    rotations = Rotation.random(1200, random_state=0).as_matrix()
    clean = np.concatenate([p.project(64, rotations[i::2]) for i, p in enumerate(claw(2))])
    clean = clean / clean.std()
    noisy = whole(clean + snr**-0.5 * np.random.default_rng(1).normal(size=clean.shape), snr**-0.5)
    method = create('cwf', 64)
    method.fit(lambda: iter([noisy]))
    assert ((method.denoise(noisy) - clean) ** 2).mean() < 1.02 * REFERENCE['cwf', snr]
    few = Batch(noisy.images[:4], noisy.noise_sd[:4])
    assert ((create('bm3d', 64).denoise(few) - clean[:4]) ** 2).mean() < 1.02 * REFERENCE['bm3d', snr]


@pytest.mark.parametrize('method', METHODS)
def test_grey_scale_of_the_result(method, phantom, monkeypatch):
    """a y + b gives a x + b: nothing depends on the grey scale."""
    monkeypatch.setattr(ksvd, 'TRAINING_PATCHES', 1000)
    rng = np.random.default_rng(6)
    noisy = phantom[:24] + rng.normal(size=(24, 32, 32))
    options = {'rounds': 1, 'atoms': 32} if method == 'ksvd' else {}
    results = []
    for gain, offset in ((1.0, 0.0), (8.0, 100.0)):
        batch = whole(gain * noisy + offset, gain)
        denoiser = create(method, 32, **options)
        denoiser.fit(lambda b=batch: iter([b]))
        few = Batch(batch.images[:3], batch.noise_sd[:3])
        results.append((denoiser.denoise(few) - offset) / gain)
    assert np.abs(results[0] - results[1]).max() < 0.02
    assert ((results[0] - phantom[:3]) ** 2).mean() < 0.7
