"""The paper's tables, cell by cell: make tables SCALE=smoke|cpu|paper.

A cell is (data set, method, seed), run through the same commands that a user has: simulate, train or filter, denoise,
evaluate. A cell that has its result is not run again: an interrupted run goes on where it was. Everything goes to
benchmarks/tables/SCALE: tables.csv, tables.png, index.html (self-contained).
"""

import argparse
import json
import time
from dataclasses import dataclass, field
from pathlib import Path

from tables_limit import write_limit
from tables_page import write_page

from cryoemgan.engine.__main__ import main as engine

HERE = Path(__file__).resolve().parent
RNAP = HERE.parents[1] / 'shared' / 'data' / 'rnap_4xln'
CLASSICAL = ('wiener', 'nlm', 'ksvd', 'bm3d', 'cwf')


@dataclass(frozen=True)
class Scale:
    """Sizes of a run. count: particles a conformation; test: of them all, for testing; length: options of train."""

    box: int
    pixel_size: float
    count: int
    test: int
    seeds: tuple
    length: tuple
    phantom: bool = False
    clusters: int = 1000


SCALES = {
    'smoke': Scale(32, 8.0, 60, 40, (1,), ('--iterations', '20'), phantom=True, clusters=120),
    'cpu': Scale(64, 4.5, 860, 300, (1, 2, 3), ('--minutes', '3')),
    'paper': Scale(128, 2.25, 5300, 1500, (1, 2, 3, 4, 5), ('--epochs', '20'), clusters=5000),
}
# Minutes of a cell, for the estimate: guesses until a scale has been run through.
MINUTES = {'smoke': 0.1, 'cpu': 4, 'paper': 60}


@dataclass(frozen=True)
class Cell:
    """One number of a table. data: options of simulate; method: a classical one, 'limit', or 'network'."""

    table: str
    row: str
    seed: int
    data: tuple
    method: str
    options: tuple = field(default=())

    @property
    def name(self):
        text = '_'.join([self.table, self.row, *self.data, f'seed{self.seed}'])
        return ''.join(c if c.isalnum() or c in '.-_' else '-' for c in text)


def gan(alpha, beta, weight=10):
    return ('--gan', 'beta', f'--alpha={alpha}', f'--beta={beta}', '--reconstruction-weight', str(weight))


NETWORKS = {
    'l1 autoencoder': ('--gan', 'none', '--p', '1'),
    'l2 autoencoder': ('--gan', 'none', '--p', '2'),
    'JS-GAN + l1': gan(0, 0),
    '(.5,.5)-GAN + l1': gan(0.5, 0.5),
    'WGAN-GP + l1': ('--gan', 'wgan-gp', '--reconstruction-weight', '200'),
}
PAIRS = ((1, 1), (0.5, 0.5), (-0.5, -0.5), (-1, -1), (1, -1), (0.5, -0.5), (0, 0), (0.1, -0.1))
LAMBDAS = (0.1, 1, 5, 10, 50, 100, 500, 1000)


def cells(scale, wanted):
    """The cells of the wanted tables."""
    for seed in scale.seeds:
        for snr in ('0.1', '0.05'):
            data = ('--snr', snr)
            if '1' in wanted:
                for method in (*CLASSICAL, 'limit'):
                    yield Cell('1', method, seed, data, method)
                for name, options in NETWORKS.items():
                    yield Cell('1', name, seed, data, 'network', options)
        data = ('--snr', '0.1')
        if '2' in wanted:
            for kind in ('references', 'particles', 'both'):
                for share in ('0.1', '0.2', '0.3'):
                    spoil = ('--contaminate', kind, '--contaminate-fraction', share)
                    for name, options in NETWORKS.items():
                        yield Cell('2', f'{name}, {kind} {share}', seed, data, 'network', options + spoil)
        if '4' in wanted:
            for a, b in PAIRS:
                yield Cell('4', f'alpha {a}, beta {b}', seed, data, 'network', gan(a, b))
        if '5' in wanted:
            for name, options in NETWORKS.items():
                yield Cell('5', f'{name}, plain', seed, data, 'network', (*options, '--network', 'plain'))
        if '6' in wanted:
            for weight in LAMBDAS:
                yield Cell('6', f'lambda {weight}', seed, data, 'network', gan(0.5, 0.5, weight))
        if 'clusters' in wanted:
            for method in ('none', 'cwf'):
                yield Cell('clusters', f'5 states, random views, {method}', seed, data, 'cluster', (method,))


class Runner:
    """Runs cells in a folder; each keeps result.json, the data sets are shared."""

    def __init__(self, folder, scale, threads):
        self.folder, self.scale, self.threads = folder, scale, threads

    def cell(self, cell):
        """The result of a cell: a dict, from its file when it is there."""
        folder = self.folder / 'cells' / cell.name
        done = folder / 'result.json'
        if done.exists():
            return json.loads(done.read_text())
        folder.mkdir(parents=True, exist_ok=True)
        start = time.time()
        run = {'limit': self._limit, 'network': self._network, 'cluster': self._cluster}.get(cell.method, self._filter)
        result = {
            'table': cell.table,
            'row': cell.row,
            'seed': cell.seed,
            'data': ' '.join(cell.data),
            **run(cell, folder),
        }
        result['wall_seconds'] = round(time.time() - start, 1)
        partial = done.with_suffix('.partial')
        partial.write_text(json.dumps(result, indent=1))
        partial.replace(done)
        return result

    def verb(self, verb, output, *options):
        """Run a verb unless its folder is complete; gives its summary."""
        summary = output / 'summary.json'
        if not summary.exists():
            # In this process: a small cell would spend most of its time importing torch.
            argv = [verb, '--output', output, '--overwrite', '--threads', self.threads, *options]
            if engine([str(a) for a in argv]):
                raise SystemExit(f'failed: cryoemgan {" ".join(map(str, argv))}')
        return json.loads(summary.read_text())

    def data(self, cell, count=None):
        """The data set of a cell: part 1 for training, part 2 for testing."""
        s = self.scale
        count = count or s.count
        source = ['--phantom', 3]
        if not s.phantom:
            source = [o for p in sorted(RNAP.glob('*.pdb.gz')) for o in ('--model', p)]
            if not source:
                raise SystemExit(f'no atomic models in {RNAP}')
        total = count * (3 if s.phantom else len(source) // 2)
        name = '_'.join(['data', *(o.strip('-') for o in cell.data), str(count), f'seed{cell.seed}'])
        folder = self.folder / name
        summary = self.verb('simulate', folder, *source, '--box', s.box, '--pixel-size', s.pixel_size, '--count', count,
                            '--split', total - s.test, '--split', s.test, '--seed', cell.seed, *cell.data)  # fmt: skip
        return folder, summary

    def _filter(self, cell, folder):
        data, _ = self.data(cell)
        # A covariance is learned from the whole noisy set; it needs no reference. The others look at one image.
        particles = data / ('noisy.star' if cell.method in ('cwf', 'wiener') else 'noisy_2.star')
        found = self.verb('filter', folder / 'filter', '--particles', particles, '--method', cell.method)
        return {**self._scores(folder, data, folder / 'filter'), 'seconds_per_image': found['cpu_seconds_per_image'],
                'training_seconds': found['learning_cpu_seconds']}  # fmt: skip

    def _network(self, cell, folder):
        data, _ = self.data(cell)
        trained = self.verb('train', folder / 'train', '--particles', data / 'noisy_1.star', '--references',
                            data / 'clean_1.star', '--seed', cell.seed, *self.scale.length, *cell.options)  # fmt: skip
        found = self.verb('denoise', folder / 'denoise', '--particles', data / 'noisy_2.star',
                          '--model', folder / 'train' / 'model')  # fmt: skip
        return {**self._scores(folder, data, folder / 'denoise'), 'seconds_per_image': 1 / found['images_per_second'],
                'training_seconds': trained['cpu_seconds']}  # fmt: skip

    def _limit(self, cell, folder):
        data, summary = self.data(cell)
        output = folder / 'limit'
        start = time.process_time()
        write_limit(data, output, summary['noise_variance'])
        seconds = (time.process_time() - start) / self.scale.test
        return {**self._scores(folder, data, output), 'seconds_per_image': seconds, 'training_seconds': 0}

    def _cluster(self, cell, folder):
        data, _ = self.data(cell, self.scale.clusters)
        particles = data / 'noisy.star'
        if cell.options[0] != 'none':
            self.verb('filter', folder / 'filter', '--particles', particles, '--method', cell.options[0])
            particles = folder / 'filter' / 'denoised.star'
        states = '3' if self.scale.phantom else '5'
        found = self.verb('cluster', folder / 'cluster', '--particles', particles, '--clusters', states,
                          '--truth', 'rlnClassNumber')  # fmt: skip
        return {k: found[k] for k in ('accuracy', 'adjusted_rand_index', 'chance_accuracy')}

    def _scores(self, folder, data, denoised):
        summary = self.verb('evaluate', folder / 'evaluate', '--references', data / 'clean_2.star', '--particles',
                            f'it={denoised / "denoised.star"}')  # fmt: skip
        found = summary['methods']['it']
        scores = {n: found[n]['mean'] for n in ('mse', 'psnr', 'ssim')}
        affine = {f'affine_{n}': found['affine'][n]['mean'] for n in ('mse', 'psnr', 'ssim')}
        # In the units of the paper: the range of all references is 1.
        unit = summary['data_range'] ** 2
        return {**scores, **affine, 'mse': scores['mse'] / unit, 'affine_mse': affine['affine_mse'] / unit}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--scale', choices=SCALES, default='smoke')
    parser.add_argument('--tables', default='1,clusters', help='comma-separated: 1, 2, 4, 5, 6, clusters, or all')
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--dry-run', action='store_true', help='only say what would be run and how long it takes')
    args = parser.parse_args()
    wanted = ['1', '2', '4', '5', '6', 'clusters'] if args.tables == 'all' else args.tables.split(',')
    scale, folder = SCALES[args.scale], HERE / 'tables' / args.scale
    todo = list(cells(scale, wanted))
    open_ = [c for c in todo if not (folder / 'cells' / c.name / 'result.json').exists()]
    print(f'{len(todo)} cells, {len(open_)} to run, about {len(open_) * MINUTES[args.scale] / 60:.1f} h', flush=True)
    if args.dry_run:
        return
    runner, results = Runner(folder, scale, args.threads), []
    for i, cell in enumerate(todo, 1):
        results.append(runner.cell(cell))
        print(f'{i}/{len(todo)} {cell.name}: ' + ', '.join(f'{k} {v:.4g}' for k, v in results[-1].items()
                                                          if isinstance(v, float)), flush=True)  # fmt: skip
        write_page(folder, args.scale, results)
    print(folder / 'index.html')


if __name__ == '__main__':
    main()
