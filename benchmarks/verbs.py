"""What the benchmarks share: running a verb as a user does, and RNA polymerase as they simulate it."""

import gzip
import json
import os
import subprocess
import sys

import numpy as np

from cryoemgan.engine.data.table import ParticleTable

STATES = ('00', '05', '10', '15', '20')
# --minutes counts CPU seconds of the process, so that other load of the machine does not matter.
ENGINE = (
    'import sys, time; from cryoemgan.engine import __main__; from cryoemgan.engine.training import loop; '
    'loop.clock = time.process_time; sys.exit(__main__.main())'
)


def verb(name, folder, **options):
    """Run a verb unless its result is there (going on with an interrupted training); gives its summary.

    One thread, a process of its own. options: NAME=value for --name value; a list repeats it, True stands alone.
    """
    summary = folder / 'summary.json'
    if not summary.exists():
        words = []
        for key, value in options.items():
            for item in value if isinstance(value, list) else [value]:
                words += ['--' + key.replace('_', '-')] + ([] if item is True else [str(item)])
        if (folder / 'settings.json').exists():
            words.append('--resume' if name == 'train' else '--overwrite')
        command = [sys.executable, '-c', ENGINE, name, '--output', str(folder), '--threads', '1', *words]
        subprocess.run(command, check=True, env={**os.environ, 'OMP_NUM_THREADS': '1'})
    return json.loads(summary.read_text())


def images(table, rows=None):
    """float32[n, N, N] of the rows (default: all) of a STAR file."""
    table = ParticleTable.read(table)
    return table.images().read(np.arange(len(table)) if rows is None else rows)


def rnap_models(data, cut_in=None):
    """Atomic models of the five states; with ``cut_in`` as files in that folder without the 130 A tail of beta'
    (chain D, 159 to 452), which would need a larger field of view."""
    paths = [data / 'rnap_4xln' / f'rnap_4xln_clamp_open{s}.pdb.gz' for s in STATES]
    return paths if cut_in is None else [_without_tail(p, cut_in) for p in paths]


def _without_tail(path, folder):
    new = folder / path.name.removesuffix('.gz')
    if not new.exists():
        with gzip.open(path, 'rt') as file:
            kept = [x for x in file if not (x.startswith('ATOM') and x[21] == 'D' and 159 <= int(x[22:26]) <= 452)]
        new.write_text(''.join(kept))
    return new
