"""Runs pieces of work of the paper's tables, through the verbs that a user has; finished ones are kept."""

import contextlib
import json
import os
import shutil
import time
from pathlib import Path

import numpy as np

from cryoemgan.engine.__main__ import parse
from cryoemgan.engine.__main__ import run as run_verb
from cryoemgan.engine.clustering import embedding as clustering
from cryoemgan.engine.data.matching import match
from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.errors import WorkError
from cryoemgan.engine.metrics import image_metrics
from cryoemgan.engine.metrics.bayes_bound import of_simulation

from .cells import EMBEDDINGS, NETWORKS, Work, snr

HERE = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get('CRYOEMGAN_SHARED_DATA') or HERE.parents[1] / 'shared' / 'data')
# Images kept of every method, for the galleries.
SHOWN = 8
METRICS = ('mse', 'psnr', 'ssim', 'mse_affine', 'psnr_affine', 'ssim_affine')


class Runner:
    """Works in a folder: cells/NAME/result.json for each Work; data sets are shared."""

    def __init__(self, folder, scale, threads):
        self.folder, self.scale, self.threads = folder, scale, threads

    def result(self, work):
        """The result of a work that was done, or None."""
        path = self._place(work) / 'result.json'
        return json.loads(path.read_text()) if path.exists() else None

    def do(self, work):
        """The result of a work: from its file when it is there; None when another process is at it."""
        found = self.result(work)
        if found is None:
            place, start, cpu = self._place(work), time.time(), time.process_time()
            if not _claim(place):
                return None
            with open(place / 'log.txt', 'w') as log, contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
                try:
                    found = getattr(self, f'_{work.kind}')(work, place)
                except WorkError as e:
                    # A diverged network is a result: the tables say so.
                    found = {'failed': str(e)}
            found |= {'cpu_seconds': round(time.process_time() - cpu, 2), 'wall_seconds': round(time.time() - start, 1)}
            partial = place / 'result.partial'
            partial.write_text(json.dumps(found, indent=1))
            partial.replace(place / 'result.json')
        return found

    def scores(self, work):
        """{name: float64 [n]} of the test particles, 'images' float32 [SHOWN, box, box] among them."""
        return np.load(self._place(work) / 'scores.npz')

    def curve(self, work):
        """Path of the training's metrics.csv."""
        return self._place(work) / 'metrics.csv'

    def _place(self, work):
        return self.folder / 'cells' / work.name

    def verb(self, verb, output, *options):
        """Run a verb in this process unless its folder is complete; gives its summary."""
        summary = output / 'summary.json'
        if not summary.exists():
            argv = [verb, '--output', output, '--overwrite', '--threads', self.threads, *options]
            run_verb(*parse([str(a) for a in argv]))
        return json.loads(summary.read_text())

    # Data

    def data(self, data, seed):
        """Folder of a simulated set: part 1 for training, part 2 for testing."""
        s = self.scale
        total = s.count * self.states
        source = ['--phantom', 3] if s.phantom else [o for p in _models() for o in ('--model', p)]
        folder = self.folder / 'data' / '_'.join([*(o.strip('-') for o in data), f'seed{seed}'])
        self.verb('simulate', folder, *source, '--box', s.box, '--pixel-size', s.pixel_size, '--count', s.count,
                  '--split', total - s.test, '--split', s.test, '--seed', seed, *data)  # fmt: skip
        return folder

    @property
    def states(self):
        """Number of conformations."""
        return 3 if self.scale.phantom else len(_models())

    def _drawn(self, work, ends, count):
        """A fresh set of the first data set's maps; ends: of the two extreme conformations only."""
        volumes = sorted(self.data(snr('0.1'), 1).glob('volume_*.mrc'))
        volumes = [volumes[0], volumes[-1]] if ends else volumes
        folder = self.folder / 'data' / '_'.join([work.kind, *(o.strip('-') for o in work.data), f'seed{work.seed}'])
        self.verb('simulate', folder, *(o for v in volumes for o in ('--volume', v)), '--box', self.scale.box,
                  '--count', count, '--seed', work.seed, *work.data)  # fmt: skip
        return folder

    # Kinds of work

    def _noisy(self, work, place):
        data = self.data(work.data, work.seed)
        return self._scored(place, data, data / 'noisy_2.star')

    def _filter(self, work, place):
        data = self.data(work.data, work.seed)
        (method,) = work.options
        # A covariance is learned from the whole noisy set; it needs no reference. The others look at patches.
        particles = data / ('noisy.star' if method in ('cwf', 'wiener') else 'noisy_2.star')
        found = self.verb('filter', place / 'filter', '--particles', particles, '--method', method)
        result = self._scored(place, data, place / 'filter' / 'denoised.star')
        shutil.rmtree(place / 'filter')
        return {**result, 'seconds_per_image': found['cpu_seconds_per_image'],
                'training_seconds': found['learning_cpu_seconds']}  # fmt: skip

    def train(self, work, place, particles, references):
        """Train a network; what the result says of it."""
        word, amount = self.scale.length
        amount = amount * work.cost if word == 'minutes' else max(1, round(amount * work.cost))
        often = () if '--evaluations' in work.options else ('--evaluations', 5)
        options = () if '--preset' in work.options else self.scale.network
        found = self.verb('train', place / 'train', '--particles', particles, '--references', references,
                          '--cross-fit', 'none', '--validation-fraction', 0.05, '--seed', work.seed, f'--{word}',
                          amount, *often, *options, *work.options)  # fmt: skip
        shutil.rmtree(place / 'train' / 'checkpoints', ignore_errors=True)
        shutil.copy(place / 'train' / 'metrics.csv', place / 'metrics.csv')
        return {'network': found['settings']['network'], 'training_seconds': found['training_seconds'],
                'iterations': found['iterations'], 'checkpoints_sd': found['top_mse_sd'],
                'checkpoints_mean': found['top_mse_mean']}  # fmt: skip

    def denoise(self, model, particles, output):
        """Denoise with a trained model, as it answers: no cut at the resolution it was found to hold."""
        return self.verb('denoise', output, '--particles', particles, '--model', model, '--cut', 'none',
                         '--no-uncertainty')  # fmt: skip

    def _network(self, work, place):
        data = self.data(work.data, work.seed)
        trained = self.train(work, place, data / 'noisy_1.star', data / 'clean_1.star')
        start = time.process_time()
        self.denoise(place / 'train' / 'model', data / 'noisy_2.star', place / 'denoise')
        seconds = (time.process_time() - start) / self.scale.test
        result = self._scored(place, data, place / 'denoise' / 'denoised.star')
        shutil.rmtree(place / 'denoise')
        return {**result, 'seconds_per_image': seconds, **trained}

    def _limit(self, work, place):
        data = self.data(work.data, work.seed)
        table = ParticleTable.read(data / 'noisy_2.star')
        count = min(self.scale.limited, len(table))
        start = time.process_time()
        limit, _ = of_simulation(data, table)
        built = time.process_time()
        found = limit.denoise(table.images().read(np.arange(count)))
        seconds = (time.process_time() - built) / count
        clean = ParticleTable.read(data / 'clean_2.star').images().read(np.arange(count))
        return {**_compare(place, found, clean), 'seconds_per_image': seconds, 'training_seconds': built - start,
                'images': count, 'effective_templates': float(np.median(limit.effective))}  # fmt: skip

    def _refined(self, work, place):
        from .refined import refined

        source = SHARED / 'relion_refined'
        if not source.is_dir():
            raise SystemExit(f'no {source}: set CRYOEMGAN_SHARED_DATA')
        return refined(self, work, place, source)

    def model(self, name, data):
        """Folder of the model of a row of Table 1 (first seed) for such data, trained if it is not there."""
        work = Work('network', data, 1, NETWORKS[name])
        if self.do(work) is None:
            raise SystemExit(f'{work.name} is being computed by another process: start again when it is done')
        return self._place(work) / 'train' / 'model'

    def _treated(self, source, like, data, place):
        """STAR file of a set as it is, clean, filtered, or denoised by a network of Table 1 for data ``like`` it."""
        if source in ('noisy', 'clean'):
            return data / f'{source}.star'
        if source in NETWORKS:
            self.denoise(self.model(source, like), data / 'noisy.star', place / 'treated')
        else:
            self.verb('filter', place / 'treated', '--particles', data / 'noisy.star', '--method', source)
        return place / 'treated' / 'denoised.star'

    def _clusters(self, work, place):
        data = self._drawn(work, False, self.scale.clustered)
        source, number = work.options
        particles = self._treated(source, work.data, data, place)
        number = str(self.states) if number == 'given' else 'auto'
        found = self.verb('cluster', place / 'cluster', '--particles', particles, '--clusters', number,
                          '--truth', 'rlnClassNumber')  # fmt: skip
        shutil.copy(place / 'cluster' / 'embedding.png', place / 'embedding.png')
        for folder in ('treated', 'cluster'):
            shutil.rmtree(place / folder, ignore_errors=True)
        return {k: found[k] for k in ('accuracy', 'adjusted_rand_index', 'chance_accuracy', 'clusters')}

    def _views(self, work, place):
        data = self._drawn(work, True, 30)
        (source,) = work.options
        table = ParticleTable.read(self._treated(source, snr('0.05'), data, place))
        truth = table.ints('rlnClassNumber')
        features = clustering.AlignedImages(table.box, 25.0).learn(table.images().read(np.arange(len(table))))
        result, points = {}, {}
        for embedding in EMBEDDINGS:
            found = clustering.learn(features, embedding, clusters=2)
            agreed = clustering.agreement(truth, found.means.predict(found.points))
            result[embedding] = {k: agreed[k] for k in ('accuracy', 'adjusted_rand_index', 'chance_accuracy')}
            points[embedding] = found.points
        np.savez(place / 'scores.npz', truth=truth, **points)
        shutil.rmtree(place / 'treated', ignore_errors=True)
        return result

    def _scored(self, place, data, star):
        """Mean scores of the test particles; each particle's go to scores.npz."""
        truth, table = ParticleTable.read(data / 'clean_2.star'), ParticleTable.read(star)
        rows, other = match(truth, table)
        order = np.argsort(rows)
        return _compare(place, table.images().read(other[order]), truth.images().read(rows[order]))


def _claim(place):
    """Make a folder this process's own, so that several can share a run; False when a living process has it."""
    owner = place / 'process'
    if owner.exists() and Path(f'/proc/{owner.read_text()}').exists() and owner.read_text() != str(os.getpid()):
        return False
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    owner.write_text(str(os.getpid()))
    return True


def _models():
    found = sorted((SHARED / 'rnap_4xln').glob('*.pdb.gz'))
    if not found:
        raise SystemExit(f'no atomic models in {SHARED / "rnap_4xln"}: set CRYOEMGAN_SHARED_DATA')
    return found


def _compare(place, images, truth):
    # The images of the sets are in [0, 1], as the paper's: PSNR and SSIM have the range 1.
    found = image_metrics.compare(images, truth, 1.0)
    np.savez(place / 'scores.npz', images=images[:SHOWN], truth=truth[:SHOWN], **{k: found[k] for k in METRICS})
    return {k: float(found[k].mean()) for k in METRICS}
