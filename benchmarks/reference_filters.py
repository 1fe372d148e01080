"""The classical methods of this program against other people's, on the same images: MSE in units of the signal.

    python benchmarks/reference_filters.py SET [--images 8] [--methods bm3d ksvd nlm cwf wiener] [--peers bm3d ksvd cwf]

SET: folder of a simulation with at least two parts (images of the second are measured; the others may be learned
from). Peers: bm3d, the authors' package (no dependency of this program: its licence forbids commercial use; versions
4.0.1 with bm4d 4.2.3); ksvd, a dictionary of the same patches by scikit-learn's MiniBatchDictionaryLearning with the
same sparse coding; cwf, ASPIRE (in an environment of its own, see below). Phantom numbers of the tests: SET = phantom.

    refs/bin/pip install aspire==0.14.3 cvxpy==1.6.0 pymanopt==2.1.1 finufft==2.5.0 numpy==1.26.1 'scipy<=1.10.0'
"""

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from cryoemgan.engine.classical import METHODS, create
from cryoemgan.engine.classical.base import Batch, corner_noise
from cryoemgan.engine.phantom import claw

BOX, COUNT = 64, 1200


def phantom(snr):
    """(clean, noisy, s.d. of the noise [n]): COUNT projections of a claw in two states, s.d. 1 over the set."""
    rotations = Rotation.random(COUNT, random_state=0).as_matrix()
    clean = np.concatenate([p.project(BOX, rotations[i::2]) for i, p in enumerate(claw(2))])
    clean = clean / clean.std()
    sd = snr**-0.5
    noisy = (clean + sd * np.random.default_rng(1).normal(size=clean.shape)).astype(np.float32)
    return clean, noisy, np.full(COUNT, sd)


def simulated(folder):
    """The same of a simulated set: test images first, then all others."""
    from cryoemgan.engine.table import ParticleTable

    def read(name):
        parts = [ParticleTable.read(folder / f'{name}_{i}.star') for i in (2, 1)]
        return np.concatenate([t.images().read(np.arange(len(t))) for t in parts])

    noisy = read('noisy')
    return read('clean'), noisy, corner_noise(noisy)[1]


def bm3d(noisy, sd, count):
    """The authors' package, its default profile."""
    import bm3d

    return np.stack([bm3d.bm3d(i.astype(np.float64), s) for i, s in zip(noisy[:count], sd)])


def ksvd(noisy, sd, count):
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
        return program('ksvd', noisy, sd, count)
    finally:
        ours.learn = own


def cwf(noisy, sd, count):
    """ASPIRE's covariance Wiener filter, fast Fourier-Bessel basis."""
    from aspire.basis import FFBBasis2D
    from aspire.covariance import RotCov2D
    from aspire.image import Image

    basis, variance = FFBBasis2D(noisy.shape[1:], dtype=np.float32), float((sd**2).mean())
    covariance, coefficients = RotCov2D(basis), basis.evaluate_t(Image(noisy))
    mean = covariance.get_mean(coefficients)
    blocks = covariance.get_covar(coefficients, mean_coef=mean, noise_var=variance)
    found = covariance.get_cwf_coefs(coefficients, None, None, mean_coef=mean, covar_coef=blocks, noise_var=variance)
    return basis.evaluate(found).asnumpy()[:count]


def program(name, noisy, sd, count):
    """This program's method."""
    method = create(name, noisy.shape[1])
    method.fit(lambda: (Batch(noisy[i : i + 200], sd[i : i + 200]) for i in range(0, len(noisy), 200)))
    return method.denoise(Batch(noisy[:count], sd[:count]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('set', help='folder of a simulation, or phantom')
    parser.add_argument('--images', type=int, default=8)
    parser.add_argument('--methods', nargs='*', default=METHODS, choices=METHODS)
    parser.add_argument('--peers', nargs='*', default=[], choices=('bm3d', 'ksvd', 'cwf'))
    parser.add_argument('--snr', type=float, default=0.1, help='of the phantom')
    args = parser.parse_args()
    warnings.simplefilter('ignore')
    clean, noisy, sd = phantom(args.snr) if args.set == 'phantom' else simulated(Path(args.set))
    peers = {'bm3d': bm3d, 'ksvd': ksvd, 'cwf': cwf}
    for name, run in [(m, None) for m in args.methods] + [(p, peers[p]) for p in args.peers]:
        start = time.process_time()
        result = run(noisy, sd, args.images) if run else program(name, noisy, sd, args.images)
        seconds = time.process_time() - start
        mse = ((result - clean[: len(result)]) ** 2).mean()
        print(f'{args.set} {"peer of " if run else ""}{name}: MSE {mse:.4e}, {len(result)} images, {seconds:.0f} s',
              flush=True)  # fmt: skip


if __name__ == '__main__':
    main()
