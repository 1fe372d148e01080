"""The classical methods of this program against other people's, on the same images: MSE in units of the signal.

    python -m benchmarks.studies.reference_filters SET [--images 8] [--methods bm3d ksvd nlm ...] [--peers bm3d ksvd]

SET: folder of a simulation with at least two parts (images of the second are measured; the others may be learned
from). With CTF (radial: --astigmatism 0, some defoci of a --ctf-table) cwf and wiener are told it, and what they give
gets it back before it is compared. Peers: bm3d, the authors' package (no dependency of this program: its licence
forbids commercial use; versions 4.0.1 with bm4d 4.2.3); ksvd, a dictionary of the same patches by scikit-learn's
MiniBatchDictionaryLearning with the same sparse coding; cwf and cwf-shrunk, ASPIRE without and with its shrinking of
eigenvalues (in an environment of its own, see below; torch and this program's other needs come from a .pth file in it).
Phantom numbers of the tests: SET = phantom.

    refs/bin/pip install aspire==0.14.3 cvxpy==1.6.0 pymanopt==2.1.1 finufft==2.5.0 numpy==1.26.1 'scipy<=1.10.0'
"""

import argparse
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from cryoemgan.engine.classical import METHODS, create
from cryoemgan.engine.classical.base import Batch, corner_noise, radial_ctf
from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.imaging.ctf import ctf_rfft
from cryoemgan.engine.imaging.phantom import claw

BOX, COUNT = 64, 1200


@dataclass
class Set:
    """Images float32 [n, box, box], s.d. of the noise [n], CTF parameters as ParticleTable.ctf gives them or None."""

    clean: np.ndarray
    noisy: np.ndarray
    sd: np.ndarray
    pixel_size: float = 1.0
    ctf: dict | None = None

    def batch(self, rows):
        """Rows as the classical methods take them."""
        if self.ctf is None:
            return Batch(self.noisy[rows], self.sd[rows])
        params = {name: values[rows] for name, values in self.ctf.items()}
        box = self.noisy.shape[1]
        grid = ctf_rfft(box, self.pixel_size, params).numpy()
        return Batch(self.noisy[rows], self.sd[rows], grid, radial_ctf(box, self.pixel_size, params))

    def with_ctf(self, images):
        """The first images with the CTF that theirs have."""
        if self.ctf is None:
            return images
        transfer = self.batch(slice(len(images))).transfer
        return np.fft.irfft2(np.fft.rfft2(images) * transfer, s=images.shape[1:])


def phantom(snr):
    """COUNT projections of a claw in two states, s.d. 1 over the set."""
    rotations = Rotation.random(COUNT, random_state=0).as_matrix()
    clean = np.concatenate([p.project(BOX, rotations[i::2]) for i, p in enumerate(claw(2))])
    clean = clean / clean.std()
    sd = snr**-0.5
    noisy = (clean + sd * np.random.default_rng(1).normal(size=clean.shape)).astype(np.float32)
    return Set(clean, noisy, np.full(COUNT, sd))


def simulated(folder):
    """A simulated set, test images first."""
    tables = {name: [ParticleTable.read(folder / f'{name}_{i}.star') for i in (2, 1)] for name in ('clean', 'noisy')}
    clean, noisy = (
        np.concatenate([t.images().read(np.arange(len(t))) for t in tables[name]]) for name in ('clean', 'noisy')
    )
    first, second = tables['noisy']
    ctf = None
    if first.has('rlnDefocusU'):
        one, other = first.ctf(), second.ctf()
        ctf = {name: np.concatenate([one[name], other[name]]) for name in one}
    return Set(clean, noisy, corner_noise(noisy)[1], first.pixel_size, ctf)


def bm3d(data, count):
    """The authors' package, its default profile."""
    import bm3d

    return np.stack([bm3d.bm3d(i.astype(np.float64), s) for i, s in zip(data.noisy[:count], data.sd)])


def ksvd(data, count):
    """scikit-learn's online dictionary learning (Mairal et al. 2010) in the place of K-SVD, all else the same."""
    from sklearn.decomposition import MiniBatchDictionaryLearning

    from cryoemgan.engine.classical import ksvd as ours

    def learn(patches, start, rounds, code, rng):
        # Sparse codes of about as many atoms as the noise allows, in the learning too.
        used = max(1, round((code(patches, start) != 0).sum() / len(patches)))
        peer = MiniBatchDictionaryLearning(
            start.shape[1], fit_algorithm='cd', transform_algorithm='omp', transform_n_nonzero_coefs=used,
            dict_init=np.ascontiguousarray(start.T), max_iter=rounds, random_state=0,
        )  # fmt: skip
        return peer.fit(patches).components_.T / np.linalg.norm(peer.components_, axis=1)

    own, ours.learn = ours.learn, learn
    try:
        return program('ksvd', data, count)
    finally:
        ours.learn = own


def cwf(data, count, shrinker=None):
    """ASPIRE's covariance Wiener filter, fast Fourier-Bessel basis. Its CTF has the other sign."""
    from aspire.basis import FFBBasis2D
    from aspire.covariance import RotCov2D
    from aspire.image import Image
    from aspire.operators import RadialCTFFilter

    basis, variance = FFBBasis2D(data.noisy.shape[1:], dtype=np.float32), float((data.sd**2).mean())
    filters, which, noisy = None, None, data.noisy
    if data.ctf is not None:
        c, noisy = data.ctf, -data.noisy
        defoci, which = np.unique(c['defocus_u'], return_inverse=True)
        filters = [
            basis.filter_to_basis_mat(
                RadialCTFFilter(c['voltage'][0], d, c['cs'][0], c['amplitude_contrast'][0]), pixel_size=data.pixel_size
            )
            for d in defoci
        ]
    covariance, coefficients = RotCov2D(basis), basis.evaluate_t(Image(noisy))
    mean = covariance.get_mean(coefficients, filters, which)
    blocks = covariance.get_covar(
        coefficients, filters, which, mean, noise_var=variance, covar_est_opt={'shrinker': shrinker}
    )
    found = covariance.get_cwf_coefs(
        coefficients, filters, which, mean_coef=mean, covar_coef=blocks, noise_var=variance
    )
    return basis.evaluate(found).asnumpy()[:count]


def shrunk_cwf(data, count):
    """The same with ASPIRE's shrinking of eigenvalues."""
    return cwf(data, count, 'frobenius_norm')


def program(name, data, count):
    """This program's method."""
    method = create(name, data.noisy.shape[1])
    rows = np.array_split(np.arange(len(data.noisy)), max(1, len(data.noisy) // 200))
    method.fit(lambda: (data.batch(r) for r in rows))
    return method.denoise(data.batch(slice(count)))


PEERS = {'bm3d': bm3d, 'ksvd': ksvd, 'cwf': cwf, 'cwf-shrunk': shrunk_cwf}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('set', help='folder of a simulation, or phantom')
    parser.add_argument('--images', type=int, default=8)
    parser.add_argument('--methods', nargs='*', default=METHODS, choices=METHODS)
    parser.add_argument('--peers', nargs='*', default=[], choices=tuple(PEERS))
    parser.add_argument('--snr', type=float, default=0.1, help='of the phantom')
    args = parser.parse_args()
    warnings.simplefilter('ignore')
    data = phantom(args.snr) if args.set == 'phantom' else simulated(Path(args.set))
    for name, run in [(m, None) for m in args.methods] + [(p, PEERS[p]) for p in args.peers]:
        start = time.process_time()
        result = run(data, args.images) if run else program(name, data, args.images)
        seconds = time.process_time() - start
        if name.split('-')[0] in ('cwf', 'wiener'):
            result = data.with_ctf(result)
        mse = ((result - data.clean[: len(result)]) ** 2).mean()
        print(f'{args.set} {"peer of " if run else ""}{name}: MSE {mse:.4e}, {len(result)} images, {seconds:.0f} s',
              flush=True)  # fmt: skip


if __name__ == '__main__':
    main()
