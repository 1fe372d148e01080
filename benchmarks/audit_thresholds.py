"""Where the limits of the audit's traffic light come from: ``python benchmarks/audit_thresholds.py FOLDER``.

For every seed a phantom is simulated (32 px, CTF, SNR 0.1, 0.05 and 0.03 in turn, poses as wrong as a refinement
leaves them), references are projected from two noisy half maps, and a cross-fitted model is trained. It is audited as
it should be used (good) and with every failure planted (bad). Printed: each measure's worst good value, and the best
bad value among the failures that it is there to catch.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import mrcfile
import numpy as np

from cryoemgan.engine.stacks import StackWriter
from cryoemgan.engine.table import ParticleTable

BOX, PIXEL = 32, 8.0
SNR = (0.1, 0.05, 0.03)
# Failure: measures that must see it.
CATCHES = {
    'shuffled pairs': ('agreement', 'fidelity', 'rank'),
    'pure noise': ('agreement', 'fidelity', 'rank', 'noise'),
    'another molecule': ('fidelity', 'rank'),
    'one network for all': ('leakage',),
    'trained on shuffled pairs': ('rank', 'bias'),
}
HIGHER_IS_BETTER = ('agreement', 'fidelity', 'rank', 'noise')


def engine(verb, output, threads, **options):
    """Summary of one run of the engine; a finished one is used again."""
    if not (output / 'summary.json').exists():
        words = [x for k, v in options.items() for x in ([f'--{k.replace("_", "-")}'] if v is True else
                 [f'--{k.replace("_", "-")}', str(v)])]  # fmt: skip
        command = [sys.executable, '-m', 'cryoemgan.engine', verb, '--output', str(output), '--overwrite',
                   '--threads', str(threads), *words]  # fmt: skip
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    return json.loads((output / 'summary.json').read_text())


def simulate(folder, seed, threads, count):
    """A simulated set; its table with estimated poses."""
    engine('simulate', folder, threads, phantom=1, count=count, box=BOX, pixel_size=PIXEL, ctf=True,
           snr=SNR[(seed - 1) % len(SNR)], shift_sd=1, perturb_angles=2, perturb_shifts=0.3, seed=seed)  # fmt: skip
    return folder / 'refined.star'


def half_maps(folder, seed):
    """Two maps with independent noise beyond a third of Nyquist, as a small refinement leaves them."""
    rng = np.random.default_rng(seed)
    with mrcfile.open(folder / 'volume_1.mrc') as mrc:
        truth = mrc.data.copy()
    paths = []
    for i in (1, 2):
        paths.append(folder / f'half{i}.mrc')
        with mrcfile.new(paths[-1], overwrite=True) as mrc:
            mrc.set_data((truth + 0.3 * truth.std() * rng.normal(size=truth.shape)).astype(np.float32))
            mrc.voxel_size = PIXEL
    return paths


def rewritten(source, folder, name, images):
    """The table of ``source`` with other images."""
    table = ParticleTable.read(source)
    with StackWriter(folder / f'{name}.mrcs', len(images), BOX, PIXEL) as writer:
        writer.append(images)
    original = table.names()
    new = table.derive(f'{name}.mrcs')
    new.set('rlnImageOriginalName', original)
    new.set_provenance(**table.provenance)
    new.write(folder / f'{name}.star')
    return folder / f'{name}.star'


def stack(path):
    table = ParticleTable.read(path)
    return table.images().read(np.arange(len(table)))


def one_seed(folder, seed, threads, count, minutes):
    """{situation: judged values} of one simulated set."""
    folder.mkdir(parents=True, exist_ok=True)
    particles = simulate(folder / 'set', seed, threads, count)
    half1, half2 = half_maps(folder / 'set', seed)
    engine('project', folder / 'project', threads, particles=particles, half1=half1, half2=half2)
    references = folder / 'project' / 'references.star'
    rng = np.random.default_rng(seed)
    shuffled = rewritten(references, folder, 'shuffled', stack(references)[rng.permutation(count)])
    images = stack(particles)
    noise = images[rng.permutation(count)]
    phases = np.angle(np.fft.rfft2(rng.normal(size=noise.shape)))
    noise = np.fft.irfft2(np.abs(np.fft.rfft2(noise)) * np.exp(1j * phases), s=(BOX, BOX))
    empty = rewritten(particles, folder, 'noise', noise.astype(np.float32))
    from cryoemgan.engine.auditing.probes import foreign_projections, like

    clean = stack(folder / 'set' / 'clean.star')
    foreign = like(foreign_projections(count, BOX, rng), clean) + (images - clean)
    foreign = rewritten(particles, folder, 'foreign', foreign.astype(np.float32))
    trained = dict(particles=particles, references=references, minutes=minutes, evaluations=5, seed=seed)
    engine('train', folder / 'train', threads, **trained)
    engine('train', folder / 'one', threads, **{**trained, 'minutes': minutes / 3}, cross_fit='none')
    engine(
        'train', folder / 'wrong', threads, **{**trained, 'references': shuffled, 'minutes': minutes / 2}, force=True
    )
    audits = {
        'good': (particles, references, 'train'),
        'shuffled pairs': (particles, shuffled, 'train'),
        'pure noise': (empty, references, 'train'),
        'another molecule': (foreign, references, 'train'),
        'one network for all': (particles, references, 'one'),
        'trained on shuffled pairs': (particles, references, 'wrong'),
    }
    found = {}
    for name, (p, r, model) in audits.items():
        found[name] = engine('audit', folder / f'audit {name}', threads, particles=p, references=r,
                             model=folder / model / 'model', sample=300, seed=seed)['judged']  # fmt: skip
        print(f'seed {seed} {name:26}', {k: round(v, 3) for k, v in found[name].items()}, flush=True)
    return found


def main():
    """Run all seeds and print the gaps."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('folder', type=Path)
    parser.add_argument('--seeds', type=int, default=3)
    parser.add_argument('--count', type=int, default=1000)
    parser.add_argument('--minutes', type=float, default=1.0)
    parser.add_argument('--threads', type=int, default=1)
    given = parser.parse_args()
    every = [one_seed(given.folder / f'{s}', s, given.threads, given.count, given.minutes) for s in
             range(1, given.seeds + 1)]  # fmt: skip
    print(f'\n{"measure":12} {"worst good":>11} {"best bad":>9}   failures')
    for measure in every[0]['good']:
        failures = [name for name, seen_by in CATCHES.items() if measure in seen_by]
        best, worst = (max, min) if measure in HIGHER_IS_BETTER else (min, max)
        good = worst(found['good'][measure] for found in every)
        bad = best((found[name][measure] for found in every for name in failures), default=float('nan'))
        print(f'{measure:12} {good:11.3f} {bad:9.3f}   {", ".join(failures)}')


if __name__ == '__main__':
    main()
