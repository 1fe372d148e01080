"""The oracle row of a table: tables_limit.py DATA OUTPUT NOISE_VARIANCE (called by tables.py)."""

import sys
from pathlib import Path

import mrcfile
import numpy as np
import torch

from cryoemgan.engine.limit import Limit
from cryoemgan.engine.stacks import StackWriter
from cryoemgan.engine.table import ParticleTable


def main(data, output, variance):
    torch.set_num_threads(1)
    paths = sorted(data.glob('volume_*.mrc'), key=lambda p: (len(p.name), p.name))
    table = ParticleTable.read(data / 'noisy_2.star')
    limit = Limit([mrcfile.read(p) for p in paths], variance**0.5)
    output.mkdir(exist_ok=True)
    with StackWriter(output / 'denoised.mrcs', len(table), table.box, table.pixel_size) as stack:
        for rows in np.array_split(np.arange(len(table)), -(-len(table) // 20)):
            stack.append(limit.denoise(table.images().read(rows)))
    table.derive('denoised.mrcs').write(output / 'denoised.star')


if __name__ == '__main__':
    main(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]))
