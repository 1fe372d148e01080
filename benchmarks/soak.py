"""Break runs on purpose, at random, for a given time, and count what became of them.

    python -m benchmarks.soak --minutes 60 --work /scratch/soak

Every trial takes a command, spoils a run of it (kills, signals, a full disk, damaged state, changed input, a second run
at the same time, --overwrite), goes on with --resume, and compares with the run that nobody disturbed, byte by byte
where a file does not hold the time. A trial may end equal, or refused with one sentence; anything else is *wrong*.
Trials are numbered by their seeds, so that each can be repeated (--seed N --trials 1). Writes
``benchmarks/results/soak.md`` (--report).
"""

import argparse
import contextlib
import json
import random
import shutil
import time
from collections import Counter
from pathlib import Path

from cryoemgan.engine.data import stack_writer

from .disturbed_runs import Engine, Trial, content

RESULTS = Path(__file__).parent / 'results' / 'soak.md'
BOX, COUNT = 32, 60
SHORT = ['--iterations', '8', '--evaluations', '4', '--batch-size', '6', '--precision', 'float32', '--force']
KINDS = ('kill', 'signal', 'full disk', 'damage', 'changed input', 'overwrite', 'two at once')


def commands(data):
    """{name: arguments} of every command; data: folder with the simulated set, references, model."""
    particles, references = str(data / 's/noisy.star'), str(data / 'p/references.star')
    pairs = ['--particles', particles, '--references', references]
    model = ['--particles', particles, '--model', str(data / 't/model'), '--precision', 'float32']
    train = ['train', *pairs, *SHORT]
    guided = ['--network', 'guided', '--bank-size', '120', '--candidates', '16']
    return {
        'simulate': ['simulate', '--phantom', '2', '--count', '30', '--box', str(BOX), '--snr', '0.5', '--ctf'],
        'project': ['project', '--particles', particles, '--volume', str(data / 's/volume_1.mrc'), '--batch-size', '7'],
        'filter wiener': ['filter', '--particles', particles, '--method', 'wiener', '--batch-size', '7'],
        'filter nlm': ['filter', '--particles', particles, '--method', 'nlm', '--batch-size', '7'],
        'denoise': ['denoise', *model, '--batch-size', '7'],
        'train': [*train, '--cross-fit', 'none', '--gan', 'beta', '--network', 'residual'],
        'train, cross-fitted': [*train, '--cross-fit', 'folds', '--network', 'residual', '--gan', 'none'],
        'train, fresh pairs': [*train, '--cross-fit', 'none', '--network', 'residual', '--fresh-fraction', '0.5'],
        'train, guided': [*train, '--cross-fit', 'none', *guided],
        'train, self': ['train', '--particles', particles, '--target', 'self', '--network', 'residual', *SHORT],
        'train, learned templates': ['train', '--particles', particles, '--target', 'self', *SHORT],
        'evaluate': ['evaluate', '--references', str(data / 's/clean.star'), '--particles', f'noisy={particles}'],
        'cluster': ['cluster', '--particles', particles, '--compare', 'images', '--landmarks', '40'],
        'audit': ['audit', *pairs, '--model', str(data / 't/model')],
        'originals': ['originals', '--particles', str(data / 'd/denoised.star'), '--source', particles],
        'select': ['select', '--particles', str(data / 'p/references.star'), '--correlation', '10%'],
    }  # fmt: skip


def prepare(engine, work):
    """{name: (arguments, seconds, content)} of every command, run undisturbed."""
    data = work / 'data'
    common = ['--phantom', '2', '--count', str(COUNT // 2), '--box', str(BOX), '--snr', '0.5', '--ctf']
    all_ = commands(data)
    for arguments in (
        ['simulate', *common, '--output', str(data / 's')],
        [*all_['project'], '--output', str(data / 'p')],
        [*all_['train'], '--output', str(data / 't')],
        [*all_['denoise'], '--output', str(data / 'd')],
    ):
        assert engine.run(arguments) == 0, engine.said()
    found = {}
    for name, arguments in all_.items():
        out, start = work / 'whole' / name.replace(' ', '_'), time.monotonic()
        assert engine.run([*arguments, '--output', str(out)]) == 0, (name, engine.said())
        found[name] = arguments, time.monotonic() - start, content(out)
        print(f'{name}: {found[name][1]:.1f} s undisturbed', flush=True)
    return found


def report(counts, wrong, minutes, first, trials):
    """The page of results."""
    outcomes = ('equal', 'refused', 'wrong')
    lines = [
        'What became of runs that were broken on purpose', '', f'{trials} trials with the seeds {first} to '
        f'{first + trials - 1} in {minutes:.0f} minutes, on a machine shared with others '
        f'(`python -m benchmarks.soak`). Every trial did spoil something. Equal: after --resume the result was, byte '
        'by byte, that of an undisturbed run. Refused: exit status 2 and one sentence. Wrong: anything else.', '',
        '| what was done | ' + ' | '.join(outcomes) + ' |', '|---|' + '---|' * len(outcomes),
    ]  # fmt: skip
    for kind in KINDS:
        lines.append(f'| {kind} | ' + ' | '.join(str(sum(n for (k, _, o), n in counts.items() if (k, o) == (kind, out)))
                                                  for out in outcomes) + ' |')  # fmt: skip
    lines += ['', '| command | ' + ' | '.join(outcomes) + ' |', '|---|' + '---|' * len(outcomes)]
    for name in sorted({n for _, n, _ in counts}):
        lines.append(f'| {name} | ' + ' | '.join(str(sum(n for (_, c, o), n in counts.items() if (c, o) == (name, out)))
                                                  for out in outcomes) + ' |')  # fmt: skip
    lines += ['', 'Wrong:' if wrong else 'Nothing was wrong.', '', *wrong]
    return '\n'.join(lines) + '\n'


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--minutes', type=float, default=60)
    parser.add_argument('--trials', type=int, default=10**9)
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--work', type=Path, required=True)
    parser.add_argument('--report', type=Path, default=RESULTS)
    options = parser.parse_args()
    # Small runs, which are over before a journal would be written for the first time.
    stack_writer.FLUSH_SECONDS = 0.0
    shutil.rmtree(options.work, ignore_errors=True)
    options.work.mkdir(parents=True)
    engine, start = Engine(options.work / 'log'), time.monotonic()
    whole = prepare(engine, options.work)
    counts, wrong, trial = Counter(), [], 0
    while trial < options.trials and time.monotonic() - start < 60 * options.minutes:
        seed = options.seed + trial
        rng = random.Random(seed)
        kind, name = rng.choice(KINDS), rng.choice(list(whole))
        folder = options.work / 'trial'
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        outcome, why = getattr(
            Trial(engine, options.work / 'data', *whole[name], folder, rng), kind.replace(' ', '_')
        )()
        counts[kind, name, outcome] += 1
        print(json.dumps([seed, kind, name, outcome, why]), flush=True)
        if outcome == 'wrong':
            wrong.append(f'- seed {seed}, {kind}, {name}: {why}')
            with contextlib.suppress(OSError):
                shutil.copytree(folder, options.work / f'wrong_{seed}', dirs_exist_ok=True)
        trial += 1
        options.report.write_text(report(counts, wrong, (time.monotonic() - start) / 60, options.seed, trial))


if __name__ == '__main__':
    main()
