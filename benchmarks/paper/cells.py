"""What the paper's tables are made of: scales, and the rows of every table as pieces of work."""

import hashlib
from dataclasses import dataclass

CLASSICAL = ('bm3d', 'ksvd', 'nlm', 'cwf', 'wiener')
TABLES = ('1', 'limit', '2', '3', '4', '5', '6', 'pggan', 'figure2', 'clip', 'clusters', 'views', 'long')


@dataclass(frozen=True)
class Scale:
    """Sizes of a run.

    count: particles a conformation; test: of them all, for testing. length: option of train and its amount (minutes:
    of CPU time, so that other load of the machine does not count). network: options of every network. seeds: where an
    ordering is claimed; one elsewhere. limited: test images that the limit is computed for (the slowest row).
    clustered: particles a conformation for clustering at random views; draws: fresh sets for clustering.
    """

    box: int
    pixel_size: float
    count: int
    test: int
    length: tuple
    network: tuple = ()
    seeds: tuple = (1,)
    limited: int = 100
    clustered: int = 400
    draws: int = 3
    phantom: bool = False


SCALES = {
    'smoke': Scale(
        32, 8.0, 60, 40, ('iterations', 2), ('--network', 'residual', '--batch-size', '5'), (1,), 5, 40, 1, phantom=True
    ),
    # Batches of 10: twice the steps of the paper's 20 at equal cost; halves the error where cost is small.
    'cpu': Scale(64, 4.5, 660, 300, ('minutes', 0.25), ('--network', 'residual', '--batch-size', '10'), (1, 2, 3)),
    'paper': Scale(128, 2.25, 5300, 1500, ('epochs', 20), ('--preset', 'paper'), (1, 2, 3, 4, 5), clustered=1000),
}


@dataclass(frozen=True)
class Work:
    """One thing to compute. kind: noisy, filter, limit, network, refined, clusters, views; options: of the verb, or
    what the kind needs. data: options of simulate. cost: part of the scale's length."""

    kind: str
    data: tuple
    seed: int
    options: tuple = ()
    cost: float = 1.0

    @property
    def name(self):
        """Folder of its result."""
        text = '_'.join([self.kind, *self.options, *self.data, f'x{self.cost:g}', f'seed{self.seed}'])
        safe = ''.join(c if c.isalnum() or c == '.' else '-' for c in text)
        return f'{safe[:120]}_{hashlib.sha256(repr(self).encode()).hexdigest()[:8]}'


@dataclass(frozen=True)
class Row:
    """A line of a table. column: what tells several numbers of one line apart."""

    table: str
    label: str
    column: str
    work: Work


def gan(alpha, beta, weight=10, p=1):
    """Options of the (alpha, beta)-GAN + weight * l_p; k_g = 2 as in the paper."""
    return ('--gan', 'beta', f'--alpha={alpha}', f'--beta={beta}', '--p', str(p),
            '--reconstruction-weight', str(weight), '--generator-steps', '2')  # fmt: skip


def wgan(p=1, weight=10):
    """Options of WGAN-GP + weight * l_p."""
    return ('--gan', 'wgan-gp', '--p', str(p), '--reconstruction-weight', str(weight), '--generator-steps', '2')


L1, L2 = ('--gan', 'none', '--p', '1'), ('--gan', 'none', '--p', '2')
# The product's own choice, none of the scale's options with it.
RECOMMENDED = ('--preset', 'recommended')
NETWORKS = {
    'recommended preset': RECOMMENDED,
    'l2-autoencoder': L2,
    'l1-autoencoder': L1,
    '(0,0)-GAN + l1': gan(0, 0),
    'WGAN-GP + l1': wgan(),
    '(1,1)-GAN + l1': gan(1, 1),
    '(.5,.5)-GAN + l1': gan(0.5, 0.5),
}
# Table 2: the eight models that the paper spoils.
SPOILT = {
    'l1-autoencoder': L1,
    '(1,1)-GAN + l1': gan(1, 1),
    '(.5,.5)-GAN + l1': gan(0.5, 0.5),
    'WGAN-GP + l1': wgan(),
    'l2-autoencoder': L2,
    '(1,1)-GAN + l2': gan(1, 1, p=2),
    '(.5,.5)-GAN + l2': gan(0.5, 0.5, p=2),
    'WGAN-GP + l2': wgan(2),
}
CLAIMED = ('recommended preset', 'l2-autoencoder', 'l1-autoencoder', '(.5,.5)-GAN + l1', 'WGAN-GP + l1')
PLAIN = {
    'l2-autoencoder': L2,
    '(0,0)-GAN + l1': gan(0, 0),
    'WGAN-GP + l1': wgan(),
    '(1,-1)-GAN + l1': gan(1, -1),
    '(.5,-.5)-GAN + l1': gan(0.5, -0.5),
}
PAIRS = ((1, 1), (0.5, 0.5), (-0.5, -0.5), (-1, -1), (1, -1), (0.5, -0.5), (0, 0), (0.1, -0.1))
LAMBDAS = (0.1, 1, 5, 10, 50, 100, 500, 10000)
LONG = 6.0


def snr(value, *more):
    """Options of simulate for images in [0, 1] at an SNR."""
    return ('--scale', 'unit', '--snr', value, *more)


def rows(scale, wanted=TABLES):
    """Every row of the wanted tables, in the order in which they should be computed: what decides comes first."""
    first, more = scale.seeds[:1], scale.seeds[1:]
    parts = [
        _table1(first, ('0.1', '0.05')),
        _spoilt(first, ('references',), SPOILT, ('0', '0.3')),
        _refined(),
        _table6(first),
        _clip(),
        _figure2(),
        _clusters(scale),
        _views(scale),
        _table4(first),
        _table1(more, ('0.1',), CLAIMED),
        _spoilt(more, ('references',), CLAIMED[1:], ('0', '0.3')),
        _table5('0.1'),
        _long(),
        _pggan(),
        _spoilt(first, ('references',), SPOILT, ('0.1', '0.2')),
        _spoilt(first, ('particles', 'both'), SPOILT, ('0.3', '0.2', '0.1')),
        _table5('0.05'),
    ]
    return [row for part in parts for row in part if row.table in wanted]


def _table1(seeds, levels, networks=None):
    for seed in seeds:
        for level in levels:
            data, column = snr(level), f'SNR {level}'
            yield Row('1', 'noisy', column, Work('noisy', data, seed))
            # The slow ones once: they learn nothing, and no ordering is claimed of them.
            for method in ('cwf', 'wiener') if networks else CLASSICAL:
                yield Row('1', method, column, Work('filter', data, seed, (method,)))
            for name in networks or NETWORKS:
                yield Row('1', name, column, Work('network', data, seed, NETWORKS[name]))
            yield Row('limit', 'limit', column, Work('limit', data, seed))


def _spoilt(seeds, kinds, models, shares):
    # Cheaper cells, there are many; what is compared is a model with itself without contamination.
    for seed in seeds:
        for share in shares:
            for kind in kinds:
                for name in models:
                    spoil = ('--contaminate', kind, '--contaminate-fraction', share) if share != '0' else ()
                    column = f'{kind} {share}' if spoil else 'none'
                    work = Work('network', snr('0.1'), seed, (*SPOILT[name], *spoil), 2 / 3)
                    yield Row('2', name, column, work)


def _table4(seeds):
    for seed in seeds:
        for level in ('0.1', '0.05'):
            for a, b in PAIRS:
                work = Work('network', snr(level), seed, gan(a, b))
                yield Row('4', f'alpha {a}, beta {b}', f'SNR {level}', work)


def _table5(level):
    for name, options in PLAIN.items():
        work = Work('network', snr(level), 1, (*options, '--network', 'plain'), 2.0)
        yield Row('5', f'{name}, plain network', f'SNR {level}', work)


def _table6(seeds):
    for seed in seeds:
        for weight in LAMBDAS:
            yield Row('6', f'lambda {weight:g}', 'SNR 0.1', Work('network', snr('0.1'), seed, gan(0.5, 0.5, weight)))


def _refined():
    for name, options in NETWORKS.items():
        yield Row('3', name, 'relion_refined', Work('refined', (), 1, options))
    for name in ('noisy', 'projection', 'cwf'):
        yield Row('3', name, 'relion_refined', Work('refined', (), 1, (name,)))


def _pggan():
    for name, weight in (('PGGAN, WGAN-GP + l1', 10), ('PGGAN, WGAN-GP alone', 0)):
        work = Work('network', snr('0.05'), 1, (*wgan(weight=weight), '--network', 'pggan'), 3.0)
        yield Row('pggan', name, 'SNR 0.05', work)


def _figure2():
    often = ('--evaluations', '15')
    for name, weight in (('JS-GAN alone', 0), ('JS-GAN + l1', 10)):
        work = Work('network', snr('0.1'), 1, (*gan(0, 0, weight), *often), 2.0)
        yield Row('figure2', name, 'SNR 0.1', work)


def _clip():
    data = snr('0.1', '--clip')
    yield Row('clip', 'noisy', 'SNR 0.1, clipped', Work('noisy', data, 1))
    for method in CLASSICAL:
        yield Row('clip', method, 'SNR 0.1, clipped', Work('filter', data, 1, (method,)))
    yield Row('clip', 'l2-autoencoder', 'SNR 0.1, clipped', Work('network', data, 1, L2))


def _long():
    yield Row('long', f'l2-autoencoder, {LONG:g} x the time', 'SNR 0.1', Work('network', snr('0.1'), 1, L2, LONG))
    work = Work('network', snr('0.1'), 1, RECOMMENDED, LONG)
    yield Row('long', f'recommended preset, {LONG:g} x the time', 'SNR 0.1', work)


CLUSTERED = ('noisy', 'cwf', 'recommended preset', 'clean')
# Grey values as projected, as a microscope has them; beside them images scaled one by one, as in the paper.
PROJECTED = ('--snr', '0.1')


def _clusters(scale):
    """Five states seen from everywhere; sets that nothing was chosen on (the mask was written with 101 and 102)."""
    for draw in range(103, 103 + scale.draws):
        for source in CLUSTERED:
            yield Row('clusters', source, 'K given', Work('clusters', PROJECTED, draw, (source, 'given')))
        yield Row('clusters', 'noisy', 'K auto', Work('clusters', PROJECTED, draw, ('noisy', 'auto')))
        for source in ('noisy', 'clean'):
            work = Work('clusters', snr('0.1'), draw, (source, 'given'))
            yield Row('clusters', f'{source}, each in [0, 1]', 'K given', work)


EMBEDDINGS = ('isomap', 'spectral', 'mds', 'tsne')
VIEWED = ('clean', 'noisy', 'bm3d', 'ksvd', 'recommended preset', 'l2-autoencoder', '(1,1)-GAN + l1', 'WGAN-GP + l1')


def _views(scale):
    """Two end states from about one side, 60 images, as the paper's test must have been."""
    for source in VIEWED:
        for draw in range(201, 201 + 4 * scale.draws):
            work = Work('views', snr('0.05', '--view-spread', '5'), draw, (source,))
            yield from (Row('views', source, embedding, work) for embedding in EMBEDDINGS)
