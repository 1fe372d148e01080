"""The CTF against its closed form in double precision and xmippLib (RELION: test_projection.py)."""

import numpy as np
import pytest
import torch

from cryoemgan.engine.imaging.ctf import apply_ctf, ctf_rfft

WAVELENGTH_300KV = 0.0196874890


def parameters(count, seed=0, **changed):
    rng = np.random.default_rng(seed)
    u = rng.uniform(8000, 26000, count)
    values = dict(
        defocus_u=u,
        defocus_v=u - rng.uniform(-1500, 1500, count),
        defocus_angle=rng.uniform(-180, 180, count),
        voltage=np.full(count, 300.0),
        cs=np.full(count, 2.7),
        amplitude_contrast=np.full(count, 0.1),
        phase_shift=rng.uniform(0, 90, count),
        b_factor=np.zeros(count),
    )
    return {**values, **{k: np.full(count, float(v)) for k, v in changed.items()}}


def closed_form(box, pixel_size, p, wavelength=WAVELENGTH_300KV):
    """float64[B, box, box//2 + 1]; pixel_size float[B]."""
    stretch = p.get('magnification', np.broadcast_to(np.eye(2), (len(p['cs']), 2, 2)))
    p = {k: v[:, None, None] for k, v in p.items() if k != 'magnification'}
    pixel_size = np.broadcast_to(pixel_size, len(p['cs']))[:, None, None]
    x, y = np.fft.rfftfreq(box) / pixel_size, np.fft.fftfreq(box)[:, None] / pixel_size
    x, y = (m[:, None, None, 0] * x + m[:, None, None, 1] * y for m in stretch.transpose(1, 0, 2))
    squared, angle = x**2 + y**2, np.arctan2(y, x)
    u, v = p['defocus_u'], p['defocus_v']
    defocus = (u + v) / 2 + (u - v) / 2 * np.cos(2 * (angle - np.deg2rad(p['defocus_angle'])))
    chi = np.pi * wavelength * defocus * squared - np.pi / 2 * p['cs'] * 1e7 * wavelength**3 * squared**2
    w = p['amplitude_contrast']
    value = np.sin(chi + np.arctan(w / np.sqrt(1 - w**2)) + np.deg2rad(p['phase_shift']))
    return value * np.exp(-p['b_factor'] / 4 * squared)


@pytest.mark.parametrize('box', [64, 65])
@pytest.mark.parametrize('pixel_size', [4.5, 1.5])
def test_closed_form(box, pixel_size):
    p = parameters(20)
    difference = ctf_rfft(box, pixel_size, p).numpy() - closed_form(box, pixel_size, p)
    assert np.abs(difference).max() < 3e-4


def test_a_pixel_size_for_each_image():
    p, sizes = parameters(5), np.array([1.5, 1.52, 1.6, 1.4, 1.5])
    assert np.abs(ctf_rfft(64, sizes, p).numpy() - closed_form(64, sizes, p)).max() < 3e-4


def test_b_factor_dampens():
    p = parameters(3, b_factor=80)
    assert np.abs(ctf_rfft(64, 2.0, p).numpy() - closed_form(64, 2.0, p)).max() < 3e-4
    corner = np.abs(ctf_rfft(64, 2.0, p).numpy()[:, 32, 32])
    assert (corner <= np.exp(-80 / 4 * 2 / 16) + 1e-6).all()


def test_origin_is_the_amplitude_contrast_and_positive():
    """White protein stays white at low frequency."""
    assert ctf_rfft(32, 2.0, parameters(2, phase_shift=0)).numpy()[:, 0, 0] == pytest.approx(0.1, abs=1e-6)


def test_exchanged_defocus_is_the_same_ellipse():
    p = parameters(8)
    q = dict(p, defocus_u=p['defocus_v'], defocus_v=p['defocus_u'], defocus_angle=p['defocus_angle'] + 90)
    torch.testing.assert_close(ctf_rfft(48, 2.0, p), ctf_rfft(48, 2.0, q), rtol=0, atol=1e-4)


def test_xmipp_multiplies_by_the_same_function():
    xmippLib = pytest.importorskip('xmippLib')
    box, p = 64, parameters(1, phase_shift=0)
    image = np.random.default_rng(1).normal(size=(box, box))
    row, theirs = xmippLib.MetaData(), xmippLib.Image()
    ident = row.addObject()
    for label, name in (
        (xmippLib.MDL_CTF_DEFOCUSU, 'defocus_u'),
        (xmippLib.MDL_CTF_DEFOCUSV, 'defocus_v'),
        (xmippLib.MDL_CTF_DEFOCUS_ANGLE, 'defocus_angle'),
        (xmippLib.MDL_CTF_VOLTAGE, 'voltage'),
        (xmippLib.MDL_CTF_CS, 'cs'),
        (xmippLib.MDL_CTF_Q0, 'amplitude_contrast'),
    ):
        row.setValue(label, float(p[name][0]), ident)
    row.setValue(xmippLib.MDL_CTF_K, 1.0, ident)
    theirs.setData(image)
    xmippLib.applyCTF(theirs, row, 3.0, ident, False)
    multiplied_by = np.fft.rfft2(theirs.getData()) / np.fft.rfft2(image)
    # At the Nyquist row and column two frequencies of different CTF meet: there is no right value.
    inner = np.ones(multiplied_by.shape, bool)
    inner[box // 2], inner[:, -1] = False, False
    assert np.abs(multiplied_by - ctf_rfft(box, 3.0, p)[0].numpy())[inner].max() < 2e-3


def test_phase_flipped_is_the_absolute_value():
    spectrum, p = torch.ones(2, 32, 17, dtype=torch.complex64), parameters(2)
    transfer = ctf_rfft(32, 2.0, p)
    flipped = apply_ctf(apply_ctf(spectrum, transfer), torch.sign(transfer))
    torch.testing.assert_close(apply_ctf(spectrum, transfer, 'phase-flip'), flipped)
    assert apply_ctf(spectrum, None, 'none') is spectrum
    with pytest.raises(ValueError, match='mode'):
        apply_ctf(spectrum, transfer, 'half')
