"""How long a run of the tables will take on this machine, from a few iterations of each kind of network."""

import json
import math
import shutil
import tempfile
import time
from pathlib import Path

# CPU seconds of what is not training, per work, of a set of 300 images of 64 px (measured with the cpu scale).
BESIDE = {'noisy': 1, 'filter': 12, 'limit': 40, 'network': 4, 'refined': 5, 'clusters': 25, 'views': 6}


def estimate(runner, todo):
    """A sentence: works left, hours of training and hours of the rest."""
    works = [w for w in dict.fromkeys(r.work for r in todo) if runner.result(w) is None]
    scale = runner.scale
    pixels = scale.test / 300 * (scale.box / 64) ** 2
    # The limit looks at some of the images only; refined data are what they are.
    beside = sum(BESIDE[w.kind] * ({'limit': scale.limited / 100 * (scale.box / 64) ** 2, 'refined': 1}.get(
        w.kind, pixels)) for w in works)  # fmt: skip
    networks = [w for w in works if w.kind in ('network', 'refined') and len(w.options) > 1]
    word, amount = scale.length
    if word == 'minutes':
        seconds = sum(60 * amount * w.cost for w in networks)
        how = f'{amount:g} CPU minutes a network, given'
    else:
        seconds, how = _measured(runner, networks, word, amount), 'measured: a few iterations of each kind'
    return (
        f'{len(works)} pieces of work, {len(networks)} of them networks ({how}): {seconds / 3600:.1f} h of training, '
        f'about {beside / 3600:.1f} h of the rest'
    )


def _kind(work):
    """What the cost of an iteration depends on."""
    options = dict(zip(work.options, work.options[1:]))
    return options.get('--network', 'default'), options.get('--gan'), options.get('--batch-size')


def _measured(runner, networks, word, amount):
    """Seconds of all networks: iterations times the time of one, measured for each kind on a small phantom."""
    scale, found = runner.scale, {}
    folder = Path(tempfile.mkdtemp())
    try:
        data = folder / 'data'
        runner.verb('simulate', data, '--phantom', 2, '--box', scale.box, '--pixel-size', scale.pixel_size,
                    '--count', 100)  # fmt: skip
        for work in networks:
            if _kind(work) not in found:
                found[_kind(work)] = _iteration(runner, work, data, folder / f'kind{len(found)}')
    finally:
        shutil.rmtree(folder)
    total = 0.0
    for work in networks:
        seconds, batch, steps = found[_kind(work)]
        pairs = 0.95 * (1200 if work.kind == 'refined' else scale.count * runner.states - scale.test)
        count = amount if word == 'iterations' else math.ceil(amount * pairs / (batch * steps))
        total += seconds * count * work.cost
    return total


def _iteration(runner, work, data, folder):
    """(seconds an iteration, batch, batches an iteration): the difference of two short runs."""
    taken = []
    for iterations in (1, 4):
        start = time.perf_counter()
        # References are not needed to know the cost; --force lets anything pass.
        found = runner.verb('train', folder / str(iterations), '--particles', data / 'noisy.star', '--references',
                            data / 'clean.star', '--cross-fit', 'none', '--evaluations', 1, '--force',
                            *runner.scale.network, *work.options, '--iterations', iterations)  # fmt: skip
        taken.append(time.perf_counter() - start)
    settings = json.loads((folder / '4' / 'summary.json').read_text())['settings']
    steps = (settings['generator_steps'] or 1) + (settings['discriminator_steps'] if settings['gan'] != 'none' else 0)
    return max(taken[1] - taken[0], 1e-3) / 3, found['batch_size'], steps
