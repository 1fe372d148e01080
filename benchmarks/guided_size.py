"""Memory and time of banks of many templates: five-state RNA polymerase at 64 px, one thread.

    python benchmarks/guided_size.py --work WORK [--sizes 10000 100000 1000000]

WORK: of benchmarks/guided.py, with its set at SNR 0.1. Each size in a process of its own (its peak memory). Prints CPU
seconds to make the bank, ms of CPU a particle (48 candidates; without moves, and moves of up to 2 px), and the error of
the posterior mean on 60 test images (MSE x 1e-3), searched by groups of views and, up to 100,000, whole. Larger banks
are the templates of 10,000 again and again, with poses of their own: time and memory are those of a real one, the
error means nothing.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import guided as g
import numpy as np
import torch

from cryoemgan.engine.imaging.maps import read_map
from cryoemgan.engine.posterior.library import TemplateLibrary
from cryoemgan.engine.posterior.map_prior import MapPrior, Options
from cryoemgan.engine.posterior.posterior import Search
from cryoemgan.engine.posterior.sources import to_unit
from cryoemgan.engine.posterior.view_clusters import directions

COUNT = 60
REPEATED = 10_000
WHOLE = 100_000  # templates up to which the search by groups is compared with that of all


def asked(guide, data, truth):
    """(ms a particle, MSE x 1e-3) of the test images."""
    noisy, context = g.images(data / 'noisy_2.star', np.arange(COUNT)), g.test_context(data).part(slice(0, COUNT))
    g.asked(guide, noisy[:10], context.part(slice(0, 10)))
    start = time.process_time()
    means, *_ = g.asked(guide, noisy, context, batch=30)
    return 1000 * (time.process_time() - start) / COUNT, 1000 * g.error(means, truth)


def made(volumes, size):
    """TemplateLibrary of ``size`` templates; of more than WHOLE a repeated one."""
    bank = TemplateLibrary.from_maps(volumes, size if size <= WHOLE else REPEATED, grey=to_unit)
    if size <= WHOLE:
        return bank
    coefficients = torch.empty(size, len(bank.basis), dtype=torch.complex64)
    for rows in torch.arange(size).split(len(bank)):
        coefficients[rows] = bank.coefficients[: len(rows)]
    each, count = size // len(volumes), len(volumes)
    source = torch.arange(count).repeat_interleave(each)
    return TemplateLibrary(bank.basis, coefficients, directions(each).repeat(count, 1, 1), bank.background, source)


def measure(data, size):
    """What a bank of ``size`` templates costs."""
    truth = g.images(data / 'clean_2.star', np.arange(COUNT))
    noise = float(np.var(g.images(data / 'noisy_2.star', np.arange(COUNT)) - truth))
    volumes = [torch.from_numpy(read_map(path).data) for path in g.volumes(data)]
    start = time.process_time()
    bank = made(volumes, size)
    found = {'templates': len(bank), 'making_seconds': time.process_time() - start}
    bank.reduced(Search().functions), bank.reduced(Search().refining)
    found['with_reduced_seconds'] = time.process_time() - start
    spectrum = torch.full((bank.plane.radius + 1,), noise)
    for name, options in (('no moves', Options()), ('moves of 2 px', Options(shift_range=2.0, shift_sd=1.0))):
        found[name] = asked(MapPrior(bank, 1.0, spectrum, Search(temperature=1.5), options), data, truth)
    found['peak_MiB'] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if bank.groups is not None and size <= WHOLE:
        bank.groups, bank._reduced = None, {}
        found['whole, no moves'] = asked(MapPrior(bank, 1.0, spectrum, Search(temperature=1.5)), data, truth)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--work', type=Path, required=True)
    parser.add_argument('--sizes', type=int, nargs='+', default=(10_000, 100_000, 1_000_000))
    args = parser.parse_args()
    torch.set_num_threads(1)
    if len(args.sizes) == 1:
        print(json.dumps(measure(args.work / 'set0.1', args.sizes[0])), flush=True)
        return
    for size in args.sizes:
        subprocess.run([sys.executable, __file__, '--work', args.work, '--sizes', str(size)], check=True)


if __name__ == '__main__':
    main()
