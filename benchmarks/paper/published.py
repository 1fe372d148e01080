"""The MSE that the paper prints (arXiv 2008.07307, Tables 1 to 6 and 5.4), by (table, label, column) of our rows."""

PAPER = {}


def _add(table, columns, lines):
    for label, *values in lines:
        PAPER.update({(table, label, c): v for c, v in zip(columns, values)})


LEVELS = ('SNR 0.1', 'SNR 0.05')
_add('1', LEVELS, [
    ('bm3d', 3.52e-2, 5.87e-2),
    ('ksvd', 1.84e-2, 3.49e-2),
    ('nlm', 5.02e-2, 5.81e-2),
    ('cwf', 2.53e-2, 9.28e-3),
    ('l2-autoencoder', 3.13e-3, 4.02e-3),
    ('l1-autoencoder', 3.16e-3, 4.23e-3),
    ('(0,0)-GAN + l1', 3.06e-3, 4.02e-3),
    ('WGAN-GP + l1', 2.95e-3, 4.00e-3),
    ('(1,1)-GAN + l1', 2.99e-3, 4.01e-3),
    ('(.5,.5)-GAN + l1', 3.01e-3, 3.98e-3),
])  # fmt: skip
_add('clip', ('SNR 0.1, clipped',), [(k[1], v) for k, v in PAPER.items() if k[2] == 'SNR 0.1'])
_add('4', LEVELS, [
    ('alpha 1, beta 1', 2.99e-3, 4.01e-3),
    ('alpha 0.5, beta 0.5', 3.01e-3, 3.98e-3),
    ('alpha -0.5, beta -0.5', 3.02e-3, 4.15e-3),
    ('alpha -1, beta -1', 3.05e-3, 4.12e-3),
    ('alpha 1, beta -1', 3.05e-3, 4.10e-3),
    ('alpha 0.5, beta -0.5', 3.09e-3, 4.05e-3),
    ('alpha 0, beta 0', 3.06e-3, 4.02e-3),
    ('alpha 0.1, beta -0.1', 3.07e-3, 4.05e-3),
])  # fmt: skip
_add('5', LEVELS, [
    ('l2-autoencoder, plain network', 4.0e-3, 6.7e-3),
    ('(0,0)-GAN + l1, plain network', 3.8e-3, 5.6e-3),
    ('WGAN-GP + l1, plain network', 3.1e-3, 5.0e-3),
    ('(1,-1)-GAN + l1, plain network', 3.4e-3, 4.9e-3),
    ('(.5,-.5)-GAN + l1, plain network', 3.5e-3, 5.6e-3),
])  # fmt: skip
_add('6', ('SNR 0.1',), [
    ('lambda 0.1', 3.06e-3), ('lambda 1', 3.05e-3), ('lambda 5', 3.03e-3), ('lambda 10', 3.01e-3),
    ('lambda 50', 3.07e-3), ('lambda 100', 3.11e-3), ('lambda 500', 3.17e-3), ('lambda 10000', 3.17e-3),
])  # fmt: skip
_add('pggan', ('SNR 0.05',), [('PGGAN, WGAN-GP + l1', 8.09e-3), ('PGGAN, WGAN-GP alone', 1.01e-2)])
SHARES = [f'{kind} {share}' for kind in ('references', 'particles', 'both') for share in ('0.1', '0.2', '0.3')]
_add('2', SHARES, [
    ('l1-autoencoder', 2.93e-3, 3.06e-3, 3.07e-3, 3.01e-3, 3.08e-3, 3.22e-3, 2.92e-3, 3.97e-3, 3.50e-3),
    ('(1,1)-GAN + l1', 2.87e-3, 3.00e-3, 2.90e-3, 3.06e-3, 3.10e-3, 3.11e-3, 3.01e-3, 3.46e-3, 3.64e-3),
    ('(.5,.5)-GAN + l1', 2.93e-3, 2.93e-3, 2.94e-3, 3.05e-3, 3.09e-3, 3.19e-3, 2.89e-3, 3.29e-3, 3.64e-3),
    ('WGAN-GP + l1', 3.89e-3, 1.72e-2, 1.46e-2, 2.86e-3, 2.92e-3, 3.00e-3, 2.84e-3, 3.20e-3, 3.60e-3),
    ('l2-autoencoder', 7.18e-3, 5.12e-3, 1.11e-2, 2.95e-3, 2.99e-3, 3.11e-3, 3.36e-3, 3.82e-3, 3.61e-3),
    ('(1,1)-GAN + l2', 3.17e-3, 4.12e-3, 1.39e-2, 3.01e-3, 3.05e-3, 3.32e-3, 4.32e-3, 4.04e-3, 4.39e-3),
    ('(.5,.5)-GAN + l2', 3.91e-3, 4.71e-3, 6.27e-3, 3.43e-3, 3.12e-3, 4.71e-3, 3.74e-3, 4.23e-3, 4.69e-3),
    ('WGAN-GP + l2', 6.51e-3, 8.09e-3, 1.54e-2, 2.95e-3, 3.01e-3, 3.10e-3, 3.75e-3, 3.72e-3, 3.77e-3),
])  # fmt: skip
