"""False alarms of ``cryoemganFit``: 2,000 new particles of the right molecule under a guided model of guided.py.

    python benchmarks/guided_fit.py --data ../shared/data --work WORK [--snr 0.1]

WORK as of ``guided.py --cells maps --iterations 20``, whose model is used (trained if need be). Prints the parts of the
particles below the limits 0.05 and 0.01, which should be 5 and 1 percent, and what the estimate itself allows: the same
parts when the scale is set on 300 of the new particles, drawn 200 times, and judged on the others.
"""

import argparse
from pathlib import Path

import guided as g
import numpy as np
import torch
from verbs import verb

from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.inference.model import Model
from cryoemgan.engine.posterior.map_prior import Context
from cryoemgan.engine.posterior.p_value import FLAG, SURE, PValueCalibration

COUNT, SCALED, DRAWS, SEED = 2000, 300, 200, 77


def scores(args):
    """(Model, float32[COUNT, 5]: what its guide says of new particles); kept in WORK."""
    data = g.data_set(args)
    options = dict(volume=g.volumes(data), bank_size=args.bank_size)
    folder, _ = g.trained(args, data, f'maps{args.bank_size}', **g.GUIDED, **options)
    model, new = Model.load(folder / 'model'), args.work / f'new{args.snr:g}'
    verb('simulate', new, model=g.models(args), count=COUNT // len(g.STATES), box=g.BOX, pixel_size=g.PIXEL,
         snr=args.snr, seed=SEED, scale='unit')  # fmt: skip
    kept = new / 'scores.npy'
    if not kept.exists():
        table = ParticleTable.read(new / 'noisy.star')
        images = table.images()
        parts = np.array_split(np.arange(COUNT), COUNT // 50)
        np.save(kept, np.concatenate([model.ask(images.read(r), Context.of(table, r, g.BOX)).scores() for r in parts]))
    return model, np.load(kept)


def alarms(belonging, found):
    """Parts of particles below each limit."""
    fit = belonging.fit(found[:, 0], found[:, 4], found[:, 3])
    return [float((fit < limit).mean()) for limit in (FLAG, SURE)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', type=Path, required=True)
    parser.add_argument('--work', type=Path, required=True)
    parser.add_argument('--snr', type=float, default=0.1)
    args = parser.parse_args()
    args.__dict__ |= dict(iterations=20, bank_size=8000, seed=1)
    torch.set_num_threads(1)
    args.work.mkdir(parents=True, exist_ok=True)
    model, found = scores(args)
    print(f'model: {alarms(model.belonging("main"), found)} below {FLAG} and {SURE}')
    rng, drawn = np.random.default_rng(0), []
    for _ in range(DRAWS):
        order = rng.permutation(COUNT)
        scaled, judged = found[order[:SCALED]], found[order[SCALED:]]
        drawn.append(alarms(PValueCalibration.of(scaled[:, 0], scaled[:, 4], scaled[:, 3]), judged))
    print(f'scale set on {SCALED} of them: mean {np.mean(drawn, 0)}, s.d. {np.std(drawn, 0)}')


if __name__ == '__main__':
    main()
