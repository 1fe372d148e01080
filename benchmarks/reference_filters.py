"""MSE of the reference implementations on a deterministic phantom, for the constants in test_classical.py.

Run it in an environment of its own (neither package may be a dependency of this program: bm3d forbids commercial use,
plain ASPIRE moves Scipion's numpy):

    python3.11 -m venv refs
    refs/bin/pip install bm3d==4.0.1 bm4d==4.2.3 scipy
    PYTHONPATH=. refs/bin/python benchmarks/reference_filters.py bm3d

    refs/bin/pip install aspire==0.14.3 cvxpy==1.6.0 pymanopt==2.1.1 finufft==2.5.0 numpy==1.26.1 'scipy<=1.10.0'
    PYTHONPATH=. refs/bin/python benchmarks/reference_filters.py cwf

    PYTHONPATH=. python benchmarks/reference_filters.py own
"""

import sys

import numpy as np
from scipy.spatial.transform import Rotation

from cryoemgan.engine.phantom import claw

BOX, COUNT, SNR = 64, 1200, (0.1, 0.5)


def phantom(snr):
    """(clean, noisy, s.d. of the noise): COUNT projections of a claw in two states, s.d. 1 over the set."""
    rotations = Rotation.random(COUNT, random_state=0).as_matrix()
    clean = np.concatenate([p.project(BOX, rotations[i::2]) for i, p in enumerate(claw(2))])
    clean = clean / clean.std()
    sd = snr**-0.5
    return clean, (clean + sd * np.random.default_rng(1).normal(size=clean.shape)).astype(np.float32), sd


def bm3d(noisy, sd):
    """The authors' package, its default profile; four images."""
    import bm3d

    return np.stack([bm3d.bm3d(image.astype(np.float64), sd) for image in noisy[:4]])


def cwf(noisy, sd):
    """ASPIRE's covariance Wiener filter, fast Fourier-Bessel basis."""
    from aspire.basis import FFBBasis2D
    from aspire.covariance import RotCov2D
    from aspire.image import Image

    basis = FFBBasis2D((BOX, BOX), dtype=np.float32)
    covariance, coefficients = RotCov2D(basis), basis.evaluate_t(Image(noisy))
    mean = covariance.get_mean(coefficients)
    blocks = covariance.get_covar(coefficients, mean_coef=mean, noise_var=sd**2)
    found = covariance.get_cwf_coefs(coefficients, None, None, mean_coef=mean, covar_coef=blocks, noise_var=sd**2)
    return basis.evaluate(found).asnumpy()


def own(noisy, sd):
    """This program's: prints both."""
    from cryoemgan.engine.classical import create
    from cryoemgan.engine.classical.base import Batch

    def batch(images):
        return Batch(images, np.full(len(images), sd))

    method = create('cwf', BOX)
    method.fit(lambda: iter([batch(noisy)]))
    return {'bm3d': create('bm3d', BOX).denoise(batch(noisy[:4])), 'cwf': method.denoise(batch(noisy))}


def main(which):
    for snr in SNR:
        clean, noisy, sd = phantom(snr)
        found = {'bm3d': bm3d, 'cwf': cwf, 'own': own}[which](noisy, sd)
        for name, result in (found if isinstance(found, dict) else {which: found}).items():
            print(f'{name} at SNR {snr}: MSE {((result - clean[: len(result)]) ** 2).mean():.5f}')


if __name__ == '__main__':
    main(sys.argv[1])
