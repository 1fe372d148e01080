"""Fresh pairs against what they imitate: spectrum, CTF, signal-to-noise ratio, states; and their determinism."""

import mrcfile
import numpy as np
import pytest
import torch

from ..__main__ import run
from ..data.stack_writer import StackWriter
from ..data.table import ParticleTable
from ..errors import InputError
from ..imaging import maps
from ..settings.train import Train
from ..training import loading
from ..training.batches import noise_level
from ..training.fresh_pairs import FreshPairs
from ..training.pairs import ReferencePairs
from . import toypairs
from .test_train import weights

pytestmark = pytest.mark.usefixtures('one_thread')

BOX, PX, COUNT, SD = 32, 4.0, 160, 3.0
DEFOCUS = (12000.0, 24000.0)


def volume(seed):
    """Gaussian blobs in a cube; float32 [BOX]*3."""
    rng = np.random.default_rng(seed)
    z, y, x = np.mgrid[:BOX, :BOX, :BOX] - BOX // 2
    centres = rng.uniform(-6, 6, (6, 3))
    return sum(np.exp(-((x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2) / 8) for a, b, c in centres).astype(np.float32)


def coloured(rng, count):
    """Noise whose s.d. falls from SD at frequency 0 to SD/3 at Nyquist, made by a filter independent of ours."""
    k = np.hypot(np.fft.fftfreq(BOX)[:, None], np.fft.fftfreq(BOX))
    filt = SD * (1 - 4 / 3 * np.minimum(k, 0.5))
    return np.fft.ifft2(np.fft.fft2(rng.standard_normal((count, BOX, BOX))) * filt).real, filt


def write_data(folder, with_ctf, states=1):
    """particles.star and references.star by this test's own image formation, and maps."""
    from ..geometry import matrix_to_euler, random_matrices
    from ..imaging.ctf import ctf_rfft
    from ..imaging.projection import FourierProjector

    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    matrices, shifts = random_matrices(COUNT, 1), rng.uniform(-2, 2, (COUNT, 2))
    clean = np.empty((COUNT, BOX, BOX), np.float32)
    paths = []
    for i in range(states):
        data = volume(i)
        mine = np.arange(COUNT) % states == i
        clean[mine] = FourierProjector(data).project(matrices[mine], shifts[mine]).numpy()
        paths.append(folder / f'map{i}.mrc')
        with mrcfile.new(paths[-1], overwrite=True) as mrc:
            mrc.set_data(data)
            mrc.voxel_size = PX
    defocus = rng.uniform(*DEFOCUS, COUNT)
    signal = clean
    if with_ctf:
        zero = np.zeros(COUNT)
        params = dict(defocus_u=defocus, defocus_v=defocus, defocus_angle=zero, voltage=np.full(COUNT, 300.0),
                      cs=np.full(COUNT, 2.7), amplitude_contrast=np.full(COUNT, 0.1),
                      phase_shift=zero)  # fmt: skip
        spectrum = torch.fft.rfft2(torch.from_numpy(clean)) * ctf_rfft(BOX, PX, params)
        signal = torch.fft.irfft2(spectrum, s=(BOX, BOX)).numpy()
    noise, filt = coloured(rng, COUNT)
    noisy = (2.0 * signal + 5.0 + noise).astype(np.float32)
    rot, tilt, psi = matrix_to_euler(matrices)
    columns = dict(rlnAngleRot=rot, rlnAngleTilt=tilt, rlnAnglePsi=psi, rlnOriginXAngst=PX * shifts[:, 0],
                   rlnOriginYAngst=PX * shifts[:, 1])  # fmt: skip
    if with_ctf:
        columns |= dict(rlnDefocusU=defocus, rlnDefocusV=defocus, rlnDefocusAngle=np.zeros(COUNT))
    optics = {'rlnOpticsGroupName': ['g'], 'rlnOpticsGroup': [1], 'rlnImagePixelSize': [PX], 'rlnImageSize': [BOX]}
    if with_ctf:
        optics |= {'rlnVoltage': [300.0], 'rlnSphericalAberration': [2.7], 'rlnAmplitudeContrast': [0.1]}
    for name, images in (('particles', noisy), ('references', clean)):
        with StackWriter(folder / f'{name}.mrcs', COUNT, BOX, PX) as w:
            w.append(images)
        names = [f'{i + 1:06d}@{name}.mrcs' for i in range(COUNT)]
        table = ParticleTable.create(
            folder / f'{name}.star',
            {'rlnImageName': names, 'rlnOpticsGroup': [1] * COUNT,
             'rlnImageOriginalName': [f'{i + 1:06d}@raw.mrcs' for i in range(COUNT)], **columns}, optics)  # fmt: skip
        if name == 'references':
            table.set_provenance(ctf='none')
        table.write(folder / f'{name}.star')
    return folder, paths, filt, signal


@pytest.fixture(scope='module')
def bare(tmp_path_factory):
    """Particles with CTF, references without."""
    return write_data(tmp_path_factory.mktemp('bare') / 'd', with_ctf=True)


def opened(folder):
    pairs = ReferencePairs(
        ParticleTable.read(folder / 'particles.star'), ParticleTable.read(folder / 'references.star')
    )
    pairs.fit_grey_scale(force=True)
    return pairs


def read(pairs, positions):
    found = loading.read(pairs, positions)
    return found.noisy, found.clean


def draw(source, number, count, level=1.0, rows=None):
    """A draw as the batches make it: of references of the set where there are no maps."""
    rows = np.arange(count) if rows is None else rows
    references = None
    if source.takes_references:
        positions = np.random.default_rng(number).integers(0, len(source.pairs), count)[rows]
        references = positions, read(source.pairs, positions)[1]
    return source.draw(number, count, rows, level, references)


def fresh(pairs, paths=(), seed=3):
    return FreshPairs(pairs, np.arange(COUNT), seed, [maps.read_map(p) for p in paths])


def raw(pairs, noisy):
    return noisy[:, 0].numpy() * pairs.scale.sd + pairs.scale.mean


def test_noise_has_the_spectrum_of_the_data(bare):
    """Fresh particles minus the noise-free images of the same draw, against the filter that made the data's noise."""
    folder, paths, filt, _ = bare
    pairs = opened(folder)
    source = fresh(pairs, paths)
    noise = raw(pairs, draw(source, 0, 200)[0] - draw(source, 0, 200, level=0.0)[0]) - pairs.scale.mean
    found = np.mean(np.abs(np.fft.fft2(noise)) ** 2, axis=0) / BOX**2
    k = np.hypot(np.fft.fftfreq(BOX)[:, None], np.fft.fftfreq(BOX)) * BOX
    for low, high in ((2, 5), (5, 9), (9, 13), (13, 16)):
        ring = (k >= low) & (k < high)
        assert found[ring].mean() == pytest.approx((filt[ring] ** 2).mean(), rel=0.08)


def test_signal_to_noise_ratio_of_the_data(bare):
    folder, _, filt, signal = bare
    source = fresh(opened(folder))
    truth = (2 * signal).var(axis=(1, 2)).mean() / (filt**2).mean()
    assert source.noise.snr == pytest.approx(truth, rel=0.08)
    assert source.noise.gain == pytest.approx(2.0, rel=0.05)


@pytest.mark.parametrize('with_maps', [True, False])
def test_signal_is_the_reference_through_a_ctf_of_the_table(bare, with_maps):
    """Without noise: the ratio of the spectra is the CTF of one of the particles, by its textbook formula."""
    folder, paths, _, _ = bare
    pairs = opened(folder)
    source = fresh(pairs, paths if with_maps else ())
    noisy, clean = draw(source, 5, 12, level=0.0)
    seen = (raw(pairs, noisy) - source.noise.offset) / source.noise.gain
    reference = (clean[:, 0].numpy() - pairs.scale.unit_offset) / pairs.scale.unit_scale
    s = np.hypot(np.fft.fftfreq(BOX)[:, None], np.fft.rfftfreq(BOX)) / PX
    wavelength = 12.2643 / np.sqrt(3e5 + 0.978466e-6 * 3e5**2)
    defocus = ParticleTable.read(folder / 'particles.star').ctf()['defocus_u'][:, None, None]
    chi = np.pi * wavelength * defocus * s**2 - np.pi / 2 * 2.7e7 * wavelength**3 * s**4
    candidates = np.sin(chi + np.arctan(0.1 / np.sqrt(1 - 0.01)))
    wave = np.fft.rfft2(reference)
    for image, spectrum in zip(seen, wave):
        wrong = np.linalg.norm(candidates * spectrum - np.fft.rfft2(image), axis=(1, 2))
        assert wrong.min() < 0.03 * np.linalg.norm(spectrum)


def test_projections_are_new_and_in_the_references_grey_values(bare):
    folder, paths, _, _ = bare
    pairs = opened(folder)
    clean = draw(fresh(pairs, paths), 0, 60)[1].numpy()
    known = read(pairs, np.arange(COUNT))[1].numpy()
    assert clean.mean() == pytest.approx(known.mean(), rel=0.05)
    assert clean.std() == pytest.approx(known.std(), rel=0.05)
    assert clean.max() == pytest.approx(1.0, abs=0.15)
    flat = [x.reshape(len(x), -1) for x in (clean, known)]
    flat = [x - x.mean(axis=1, keepdims=True) for x in flat]
    flat = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in flat]
    assert (flat[0] @ flat[1].T).max() < 0.9999


def test_states_are_equally_likely(tmp_path):
    folder, paths, _, _ = write_data(tmp_path / 'd', with_ctf=False, states=2)
    pairs = opened(folder)
    both = fresh(pairs, paths)
    calls = []
    spectra = both._spectra
    both._spectra = lambda which, particles, matrices: (
        calls.append((which, len(particles))),
        spectra(which, particles, matrices),
    )[1]
    draw(both, 0, 100)
    shown = {k: sum(n for w, n in calls if w == k) for k in (0, 1)}
    assert abs(shown[0] - shown[1]) < 5 * sum(shown.values()) ** 0.5


def test_another_map_is_refused(tmp_path, bare):
    folder, _, _, _ = bare
    with mrcfile.new(tmp_path / 'other.mrc') as mrc:
        mrc.set_data(np.random.default_rng(1).standard_normal((BOX, BOX, BOX)).astype(np.float32))
        mrc.voxel_size = PX
    with pytest.raises(InputError, match='correlate with the references only by'):
        fresh(opened(folder), [tmp_path / 'other.mrc'])


def test_draws_depend_on_seed_and_number_only(bare):
    folder, paths, _, _ = bare
    pairs = opened(folder)
    one, two = fresh(pairs, paths), fresh(pairs, paths)
    draw(one, 0, 16)
    for a, b in zip(draw(one, 40, 16), draw(two, 40, 16)):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(draw(one, 41, 16)[0], draw(one, 40, 16)[0])
    assert not np.array_equal(draw(fresh(pairs, paths, seed=4), 40, 16)[1], draw(one, 40, 16)[1])


@pytest.mark.parametrize('with_maps', [True, False])
def test_a_row_of_a_draw_does_not_depend_on_the_other_rows(bare, with_maps):
    folder, paths, _, _ = bare
    pairs, rows = opened(folder), np.array([3, 4, 11])
    whole, part = (fresh(pairs, paths if with_maps else ()) for _ in range(2))
    for a, b in zip(draw(whole, 7, 16), draw(part, 7, 16, rows=rows)):
        torch.testing.assert_close(a[rows], b, rtol=1e-4, atol=1e-5)


def test_projections_are_shown_again_under_new_noise(bare):
    folder, paths, _, _ = bare
    source = fresh(opened(folder), paths)
    # 2,048 images of 32 px are kept: 32 draws of 64.
    draws = {n: draw(source, n, 64) for n in (0, 31, 32, 96, 128)}
    for n in (32, 96):
        assert torch.equal(draws[n][1], draws[0][1])
        assert not torch.equal(draws[n][0], draws[0][0])
    for n in (31, 128):
        assert not torch.equal(draws[n][1], draws[0][1])


def test_particles_without_noise_are_those_that_were_made(bare):
    """Also where only the particles have a CTF: from their references in network units to the true signal."""
    folder, _, _, signal = bare
    pairs = opened(folder)
    positions = np.array([3, 50, 117])
    pure = fresh(pairs).without_noise(positions, read(pairs, positions)[1])[:, 0].numpy()
    made = (2.0 * signal[pairs.rows[positions]] + 5.0 - pairs.scale.mean) / pairs.scale.sd
    assert np.abs(pure - made).max() < 0.03 * np.abs(made - made.mean()).max()


def test_curriculum_starts_at_a_quarter_and_reaches_the_data():
    assert noise_level(0.0, 0.4) == pytest.approx(0.25)
    assert noise_level(0.2, 0.4) == pytest.approx(0.625)
    assert noise_level(0.4, 0.4) == noise_level(1.0, 0.4) == noise_level(0.0, 0.0) == 1.0


OPTIONS = dict(iterations=6, evaluations=3, batch_size=8, threads=1, precision='float32', network='equivariant')


def train(folder, data, **options):
    return run('train', Train(output=str(folder), **{**OPTIONS, **data, **options}))


def test_trains_on_fresh_pairs_and_resumes_exactly(tmp_path, bare):
    folder, paths, _, _ = bare
    data = dict(particles=str(folder / 'particles.star'), references=str(folder / 'references.star'), force=True,
                volume=[str(p) for p in paths], fresh_fraction=0.5, noise_curriculum=0.5)  # fmt: skip
    train(tmp_path / 'whole', data)

    class Killed(BaseException):
        pass

    from ..training.loop import TrainingLoop

    original = TrainingLoop._save

    def save_and_die(self):
        original(self)
        raise Killed

    TrainingLoop._save = save_and_die
    try:
        with pytest.raises(Killed):
            train(tmp_path / 'broken', data)
    finally:
        TrainingLoop._save = original
    train(tmp_path / 'broken', data, resume=True)
    for a, b in zip(weights(tmp_path / 'whole').values(), weights(tmp_path / 'broken').values()):
        assert torch.equal(a, b)


def test_what_does_not_go_together_is_refused(tmp_path):
    particles, references = toypairs.pairs(tmp_path / 'data')
    data = dict(particles=str(particles), references=str(references))
    with pytest.raises(InputError, match='--contaminate is for real pairs'):
        train(tmp_path / 'a', data, fresh_fraction=0.5, contaminate='references', contaminate_fraction=0.1)
    with pytest.raises(InputError, match='--fresh-fraction'):
        train(tmp_path / 'b', data, volume=[str(particles)])
