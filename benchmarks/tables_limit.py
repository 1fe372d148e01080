"""The oracle row of a table: the Bayes-optimal denoiser, told the maps and the noise of a simulation."""

import mrcfile
import numpy as np

from cryoemgan.engine.limit import Limit
from cryoemgan.engine.stacks import StackWriter
from cryoemgan.engine.table import ParticleTable


def write_limit(data, output, variance):
    """Denoise noisy_2.star of the simulation in folder ``data`` into ``output``; variance: of its noise."""
    paths = sorted(data.glob('volume_*.mrc'), key=lambda p: (len(p.name), p.name))
    table = ParticleTable.read(data / 'noisy_2.star')
    limit = Limit([mrcfile.read(p) for p in paths], variance**0.5)
    output.mkdir(exist_ok=True)
    with StackWriter(output / 'denoised.mrcs', len(table), table.box, table.pixel_size) as stack:
        for rows in np.array_split(np.arange(len(table)), -(-len(table) // 20)):
            stack.append(limit.denoise(table.images().read(rows)))
    table.derive('denoised.mrcs').write(output / 'denoised.star')
