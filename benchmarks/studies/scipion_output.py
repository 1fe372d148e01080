"""What a particle costs at the door between Scipion and the engine: writing the STAR table, building the output set.

python -m benchmarks.studies.scipion_output [--particles 100000] [--json FILE]

Prints microseconds a particle (wall and CPU of this process) and the peak memory of each stage, for the number given
and for a tenth of it: memory that grows with the number shows as a difference. The target is 120 us a particle for the
output set. Everything is made in a temporary folder; the stack is sparse.
"""

import argparse
import json
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import conftest  # noqa: F401  (the environment that Scipion reads at import)

BOX, PIXEL = 128, 2.0


def sparse_stack(path, count):
    """A stack of zeros that takes no disk."""
    import mrcfile
    import numpy as np

    with mrcfile.new(path, overwrite=True) as mrc:
        mrc.set_data(np.zeros((2, BOX, BOX), np.float32))
        mrc.set_image_stack()
        mrc.voxel_size = PIXEL
        mrc.header.nz = mrc.header.mz = count
    os.truncate(path, 1024 + count * BOX * BOX * 4)


def make_input(folder, count):
    """A set with what a refinement leaves: CTF, transform, coordinate, acquisition, half set."""
    import numpy as np
    from pwem.objects import Acquisition, Coordinate, CTFModel, Particle, SetOfParticles, Transform
    from pyworkflow.object import Integer
    from scipy.spatial.transform import Rotation

    stack = f'{folder}/particles.mrcs'
    sparse_stack(stack, count)
    particles = SetOfParticles(filename=f'{folder}/particles.sqlite')
    acquisition = Acquisition(magnification=50000, voltage=300, sphericalAberration=2.7, amplitudeContrast=0.1)
    particles.setSamplingRate(PIXEL)
    particles.setAcquisition(acquisition)
    particles.setHasCTF(True)
    particles.setAlignmentProj()
    matrices = np.tile(np.eye(4), (count, 1, 1))
    matrices[:, :3, :3] = Rotation.random(count, random_state=1).as_matrix()
    item, ctf, coordinate = Particle(), CTFModel(), Coordinate()
    item.setAcquisition(acquisition.clone())
    item.setCTF(ctf)
    item.setCoordinate(coordinate)
    item.setTransform(Transform())
    item._rlnRandomSubset = Integer()
    for i in range(count):
        item.setObjId(i + 1)
        item.setLocation(i + 1, stack)
        item.getTransform().setMatrix(matrices[i])
        ctf.setStandardDefocus(15000.0 + i % 9000, 14800.0 + i % 9000, float(i % 180))
        coordinate.setPosition(i % 4000, (7 * i) % 4000)
        coordinate.setMicId(i // 300 + 1)
        coordinate.setMicName(f'mic{i // 300:05d}.mrc')
        item._rlnRandomSubset.set(1 + i % 2)
        particles.append(item)
    particles.write()
    particles.close()


def write_table(folder, count):
    """SetOfParticles -> STAR."""
    from pwem.objects import SetOfParticles

    from cryoemgan.convert import write_particles

    particles = SetOfParticles(filename=f'{folder}/particles.sqlite')
    particles.loadAllProperties()
    return lambda: write_particles(particles, f'{folder}/particles.star')


def derive(folder, count):
    """The table that a verb would write (the engine's own work; not counted)."""
    from cryoemgan.engine.data.table import ParticleTable

    def work():
        table = ParticleTable.read(f'{folder}/particles.star').derive('result.mrcs', box=BOX, pixel_size=PIXEL)
        sparse_stack(f'{folder}/result.mrcs', count)
        table.set_provenance(ctf='full')
        table.write(f'{folder}/result.star')

    return work


def read_result(folder, count):
    """Result table -> lookup by id."""
    from cryoemgan.results import Result

    return lambda: Result(f'{folder}/result.star')


def build_output(folder, count):
    """Result -> SetOfParticles, the lookup ready."""
    from pwem.objects import SetOfParticles

    from cryoemgan.results import Result, fill_particles

    particles = SetOfParticles(filename=f'{folder}/particles.sqlite')
    particles.loadAllProperties()
    result = Result(f'{folder}/result.star')
    Path(f'{folder}/output.sqlite').unlink(missing_ok=True)
    output = SetOfParticles(filename=f'{folder}/output.sqlite')

    def work():
        missing = fill_particles(output, particles, result)
        output.write()
        assert missing == 0
        assert output.getSize() == count

    return work


def measure(stage, folder, count, queue):
    """In a process of its own: (wall s, CPU s, memory before and peak, MB)."""
    work = stage(folder, count)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    queue.put(
        (
            time.perf_counter() - wall,
            time.process_time() - cpu,
            before,
            resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        )
    )


def run(count):
    """{stage: numbers} for a set of ``count`` particles."""
    context = multiprocessing.get_context('spawn')
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, stage in (
            ('make input', None),
            ('write table', write_table),
            ('(derive)', derive),
            ('read result', read_result),
            ('build output', build_output),
        ):
            queue = context.Queue()
            target, args = (make_input, (folder, count)) if stage is None else (measure, (stage, folder, count, queue))
            process = context.Process(target=target, args=args)
            process.start()
            found = queue.get() if stage else None
            process.join()
            if stage and not name.startswith('('):
                wall, cpu, before, peak = found
                results[name] = dict(
                    wall_us=1e6 * wall / count, cpu_us=1e6 * cpu / count, before_mb=before, peak_mb=peak
                )
    return results


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--particles', type=int, default=100_000)
    parser.add_argument('--json')
    given = parser.parse_args()
    everything = {count: run(count) for count in (given.particles // 10, given.particles)}
    print('| particles | stage | us a particle, wall | CPU | memory before, MB | peak, MB |\n|---|---|---|---|---|---|')
    for count, results in everything.items():
        for name, r in results.items():
            print(
                f'| {count} | {name} | {r["wall_us"]:.0f} | {r["cpu_us"]:.0f} | {r["before_mb"]:.0f} | '
                f'{r["peak_mb"]:.0f} |'
            )
    if given.json:
        Path(given.json).write_text(json.dumps(everything, indent=1), encoding='utf-8')


if __name__ == '__main__':
    main()
