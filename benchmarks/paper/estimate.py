"""How long a run of the tables will take on this machine, from a few iterations of each kind of network."""

import contextlib
import io
import json
import math
import shutil
import tempfile
from pathlib import Path

# Iterations of the longer of two short runs, where one takes less than so many seconds, and where it takes more.
MANY, FEW, SLOW = 11, 3, 2.0
# CPU seconds of what is not training, per work, of a set of 300 images of 64 px (measured with the cpu scale).
BESIDE = {'noisy': 1, 'filter': 12, 'limit': 40, 'network': 4, 'refined': 5, 'clusters': 25, 'views': 6}


def estimate(runner, todo):
    """A sentence, works left, hours of training and hours of the rest, and a line for each kind of network measured."""
    works = [w for w in dict.fromkeys(r.work for r in todo) if runner.result(w) is None]
    scale = runner.scale
    pixels = scale.test / 300 * (scale.box / 64) ** 2
    # The limit looks at some of the images only; refined data are what they are.
    beside = sum(BESIDE[w.kind] * ({'limit': scale.limited / 100 * (scale.box / 64) ** 2, 'refined': 1}.get(
        w.kind, pixels)) for w in works)  # fmt: skip
    networks = [w for w in works if w.kind in ('network', 'refined') and len(w.options) > 1]
    word, amount = scale.length
    if word == 'minutes':
        seconds, lines = sum(60 * amount * w.cost for w in networks), []
        how = f'{amount:g} CPU minutes a network, given'
    else:
        seconds, lines = _measured(runner, networks, word, amount)
        how = 'measured on this machine: a few iterations of each kind'
    return '\n'.join([
        *lines,
        f'{len(works)} pieces of work, {len(networks)} of them networks ({how}): {seconds / 3600:.1f} h of training, '
        f'about {beside / 3600:.1f} h of the rest',
    ])  # fmt: skip


def _kind(work):
    """What the cost of an iteration depends on."""
    options = dict(zip(work.options, work.options[1:]))
    return options.get('--network', 'default'), options.get('--gan'), options.get('--batch-size')


def _measured(runner, networks, word, amount):
    """(seconds of all networks, a line for each kind): iterations times the time of one, on a small phantom."""
    scale, found, sums = runner.scale, {}, {}
    folder = Path(tempfile.mkdtemp())
    try:
        data = folder / 'data'
        runner.verb('simulate', data, '--phantom', 2, '--box', scale.box, '--pixel-size', scale.pixel_size,
                    '--count', 100)  # fmt: skip
        if networks:
            # What a process does once (compiling, finding its memory) would count as iterations of the first kind.
            _iteration(runner, networks[0], data, folder / 'warm')
        for work in networks:
            if _kind(work) not in found:
                found[_kind(work)] = _iteration(runner, work, data, folder / f'kind{len(found)}')
    finally:
        shutil.rmtree(folder)
    for work in networks:
        seconds, batch, steps = found[_kind(work)]
        pairs = 0.95 * (1200 if work.kind == 'refined' else scale.count * runner.states - scale.test)
        count = amount if word == 'iterations' else math.ceil(amount * pairs / (batch * steps))
        sums.setdefault(_kind(work), []).append(seconds * count * work.cost)
    lines = [
        f'network {kind[0]}, adversary {kind[1] or "of the preset"}: {found[kind][0]:.3g} s an iteration (batch '
        f'{found[kind][1]}, {found[kind][2]} batches), {len(hours)} of them, {sum(hours) / 3600:.1f} h'
        for kind, hours in sums.items()
    ]
    return sum(map(sum, sums.values())), lines


def _iteration(runner, work, data, folder):
    """(seconds an iteration, batch, batches an iteration): the difference of two short runs."""
    own = () if '--preset' in work.options else runner.scale.network

    def run(iterations):
        # References are not needed to know the cost; --force lets anything pass.
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            found = runner.verb('train', folder / str(iterations), '--particles', data / 'noisy.star', '--references',
                                data / 'clean.star', '--cross-fit', 'none', '--evaluations', 1, '--force',
                                *own, *work.options, '--iterations', iterations)  # fmt: skip
        return found['training_seconds'], found['batch_size']

    first, batch = run(1)
    count = FEW if first > SLOW else MANY
    seconds = max(run(count)[0] - first, 1e-3) / (count - 1)
    settings = json.loads((folder / '1' / 'summary.json').read_text())['settings']
    steps = (settings['generator_steps'] or 1) + (settings['discriminator_steps'] if settings['gan'] != 'none' else 0)
    return seconds, batch, steps
