"""CPU time of a question to the map, and how well it is answered: this code against an earlier state of it, in turns.

    python -m benchmarks.studies.question_speed --work WORK [--before CHECKOUT] [--cases 64 64-prior ...]

Each case is made in memory (maps of `benchmarks.datasets`' tuning molecules, exact noise spectrum, CTF of
EMPIAR-10028), or is the first particles of a tuning set, asked by a prior that is calibrated as `train` does it. It is
kept in WORK. A process for each state of the code answers the same particles again and again, in turns; the least CPU
time of one thread counts. Error: of the posterior mean, over the truth's variance. Against the earlier state: of the
means, over the error of its own; evidence, match (log units), the angle between poses, and probability of classes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parents[2]
SEED, BATCH = 11, 64


@dataclass(frozen=True)
class Case:
    """molecule, sharp: as of a recipe; box: px; snr: of the image; noise: white or coloured; prior: degrees of the pose
    prior, None: shifts up to 3 px in 64 are looked for."""

    molecule: str = 'rnap5'
    box: int = 64
    snr: float = 0.1
    noise: str = 'white'
    prior: float | None = None
    sharp: bool = False
    templates: int = 4000
    particles: int = 192
    of_set: str = ''


CASES = {
    '64': Case(),
    '64-prior': Case(prior=3.0),
    '64-16000': Case(templates=16000),
    '64-16000-prior': Case(templates=16000, prior=3.0),
    '64-dim': Case(snr=0.02, noise='coloured'),
    '64-dim-prior': Case(snr=0.02, noise='coloured', prior=3.0),
    'claw': Case('claw', snr=0.05, noise='coloured'),
    'claw-prior': Case('claw', snr=0.05, noise='coloured', prior=3.0),
    'sharp': Case('emd5625', 56, 0.05, sharp=True),
    'sharp-prior': Case('emd5625', 56, 0.05, sharp=True, prior=3.0),
    '128': Case(box=128, particles=64),
    '128-prior': Case(box=128, particles=64, prior=3.0),
    '128-dim': Case(box=128, particles=64, snr=0.02, noise='coloured'),
    'set-snr02': Case(of_set='rnap5-snr02', particles=400),
    'set-ring': Case(of_set='ring', particles=400),
    'set-ring-prior': Case(of_set='ring', particles=400, prior=3.0),
    'set-ctf': Case(of_set='rnap5-ctf', particles=400),
    'set-ctf-prior': Case(of_set='rnap5-ctf', particles=400, prior=3.0),
}


def made(case: Case, path: Path, work: Path) -> None:
    """Write the file of a case: library, particles, truth and what is known of them."""
    import torch

    from benchmarks import datasets
    from cryoemgan.engine.data.table import ParticleTable
    from cryoemgan.engine.geometry import euler_to_matrix
    from cryoemgan.engine.imaging.forward_model import ForwardModel
    from cryoemgan.engine.imaging.simulation import noise_power, perturbed_angles, random_angles, unit_noise
    from cryoemgan.engine.posterior.library import TemplateLibrary

    volumes, pixel_size = datasets.maps_of(
        datasets.Recipe(case.molecule, 'tune', case.box, case.particles, case.snr, case.sharp)
    )
    angles = random_angles(case.particles, SEED)
    rng, rows = np.random.default_rng(SEED), np.arange(case.particles)
    shifts = rng.normal(0, case.box / 64, (case.particles, 2)).clip(-2 * case.box / 64, 2 * case.box / 64)
    ctf = {k: v[rows] for k, v in ParticleTable.read(datasets.defoci(work / 'empiar10028.star')).ctf().items()}
    model, which = ForwardModel(volumes, [pixel_size] * len(volumes), case.box, pixel_size), rows % len(volumes)
    matrices = euler_to_matrix(*angles)
    shown = model.images(matrices, shifts, which, ctf=ctf)
    sd = float((shown.var() / case.snr).sqrt())
    noise = unit_noise(rows, case.box, SEED, case.noise == 'coloured')
    power = noise_power(case.box)[:, 0] if case.noise == 'coloured' else np.ones(case.box)
    library = TemplateLibrary.from_maps([torch.from_numpy(v) for v in volumes], case.templates)
    torch.save(
        {
            'library': library.tensors(), 'box': case.box, 'pixel_size': pixel_size, 'prior': case.prior,
            'spectrum': torch.as_tensor(sd**2 * power[: library.plane.radius + 1], dtype=torch.float32),
            'images': shown + sd * torch.from_numpy(noise), 'truth': model.images(matrices, shifts, which), 'ctf': ctf,
            'matrices': euler_to_matrix(*perturbed_angles(angles, 1.7, SEED)),
            'shifts': shifts + rng.normal(0, 0.3 * case.box / 64, shifts.shape), 'true': matrices, 'classes': which,
        },
        path,
    )  # fmt: skip


def taken(case: Case, path: Path, work: Path) -> None:
    """Write the file of a case that is a set, calibrated by this state of the code."""
    import torch

    from benchmarks import datasets
    from benchmarks.posterior.prior import Asked
    from cryoemgan.engine.data.image_state import CtfState
    from cryoemgan.engine.posterior.context import Context

    asked, rows = Asked(datasets.make(case.of_set, 1, work), case.templates, case.prior), np.arange(case.particles)
    context, known = (Context.of(table, rows, table.box) for table in (asked.table, asked.truth))
    assert context.matrices is not None
    assert known.matrices is not None
    truth = asked.model.images(known.matrices, known.shifts, asked.classes[rows], mode=CtfState.NONE)
    prior = asked.prior
    torch.save(
        {
            'library': prior.bank.tensors(), 'box': asked.table.box, 'pixel_size': context.pixel_size,
            'prior': case.prior, 'gain': prior.gain, 'spectrum': prior.spectrum, 'search': vars(prior.search),
            'options': vars(prior.options), 'images': torch.from_numpy(asked.images(rows)), 'truth': truth,
            'ctf': context.ctf, 'matrices': context.matrices, 'shifts': context.shifts, 'true': known.matrices,
            'classes': asked.classes[rows],
        },
        path,
    )  # fmt: skip


def serve(path: Path, output: Path) -> None:
    """A process that asks all particles of a file whenever it is told to, and says the CPU ms that each took."""
    import torch

    from cryoemgan.engine.data.image_state import CtfState
    from cryoemgan.engine.posterior.context import Context
    from cryoemgan.engine.posterior.library import TemplateLibrary
    from cryoemgan.engine.posterior.map_prior import MapPrior, MapPriorOptions
    from cryoemgan.engine.posterior.posterior import Search

    torch.set_num_threads(1)
    case = torch.load(path, weights_only=False)
    box, images = case['box'], case['images']
    usual = {'ctf': 'none', 'shift_range': 3 * box / 64, 'shift_sd': box / 64, 'pose_prior': case['prior']}
    options = MapPriorOptions(**case.get('options', usual))
    search = Search(**case.get('search', {'temperature': 2.5, 'contrast': 0.02}))
    library = TemplateLibrary.load(case['library'], box)
    guide = MapPrior(library, case.get('gain', 1.0), case['spectrum'], search, options)
    context = Context(case['pixel_size'], case['ctf'], case['matrices'], case['shifts'], CtfState.FULL)
    for _ in sys.stdin:
        start, found = time.process_time(), []
        for rows in (slice(k, k + BATCH) for k in range(0, len(images), BATCH)):
            found.append(guide(images[rows], context.part(rows)))
        print(1000 * (time.process_time() - start) / len(images), flush=True)
        torch.save({k: torch.cat([vars(f)[k] for f in found]) for k in vars(found[0])}, output)


class Server:
    """A process with one state of the code. root: its checkout."""

    def __init__(self, root: Path, case: Path, output: Path) -> None:
        self.output, self.times = output, []
        env = {**os.environ, 'PYTHONPATH': str(root), 'OMP_NUM_THREADS': '1'}
        argv = [sys.executable, str(Path(__file__).resolve()), '--serve', str(case), str(output)]
        self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)

    def ask(self) -> None:
        """One more time."""
        self._process.stdin.write('\n')
        self._process.stdin.flush()
        self.times.append(float(self._process.stdout.readline()))

    def answers(self):
        """What it said the last time."""
        import torch

        self._process.stdin.close()
        self._process.wait()
        return torch.load(self.output)


def errors(found, case):
    """Of the means against the truth, each particle, over the truth's variance."""
    truth = case['truth']
    truth = truth - truth.mean((1, 2), keepdim=True)
    mean = found['mean'] - found['mean'].mean((1, 2), keepdim=True)
    return (mean - truth).square().mean((1, 2)) / truth.square().mean()


def judged(found, case):
    """Error; error of the pose (median, degrees); part whose class is right; stated s.d. over the error's."""
    import torch

    trace = torch.einsum('bij,bij->b', found['matrices'].double(), torch.as_tensor(case['true']))
    degrees, error = torch.rad2deg(torch.arccos(((trace - 1) / 2).clamp(-1, 1))), errors(found, case)
    sd = (found['sd'].square().mean() / (error.mean() * case['truth'].var())).sqrt()
    return {
        'error': float(error.mean()), 'degrees': float(degrees.median()),
        'class': float((found['classes'].argmax(1) == torch.as_tensor(case['classes'])).double().mean()),
        'sd': float(sd), 'angle_spread': float(found['angle_spread'].median()),
    }  # fmt: skip


def compared(new, old, case):
    """Differences: of the means over the error of the old ones; 95th percentile and most of evidence, match; poses."""
    import torch

    def both(values):
        values = values.abs().double()
        return [round(float(values.quantile(0.95)), 5), round(float(values.max()), 5)]

    error = errors(old, case) * case['truth'].square().mean()
    trace = torch.einsum('bij,bij->b', new['matrices'], old['matrices'])
    return {
        'mean': float((new['mean'] - old['mean']).square().mean() / error.mean()),
        **{k: both(new[k] - old[k]) for k in ('evidence', 'match', 'misfit', 'scale', 'classes')},
        'degrees': both(torch.rad2deg(torch.arccos(((trace - 1) / 2).clamp(-1, 1)))),
        **{k: both((new[k] - old[k]) / old[k]) for k in ('sd', 'angle_spread', 'shift_spread')},
    }  # fmt: skip


def measured(name: str, before: Path | None, rounds: int, work: Path) -> None:
    """Ask the particles of a case in turns, and say what it took and how well they were answered."""
    import torch

    path = work / f'{name}.pt'
    if not path.exists():
        (taken if CASES[name].of_set else made)(CASES[name], path, work)
    roots = {'now': HERE} | ({'before': before} if before else {})
    servers = {k: Server(root, path, work / f'{name}_{k}.pt') for k, root in roots.items()}
    for _ in range(rounds):
        for server in servers.values():
            server.ask()
    case, found = torch.load(path, weights_only=False), {k: s.answers() for k, s in servers.items()}
    for k, server in servers.items():
        said = ', '.join(f'{key} {value:.5f}' for key, value in judged(found[k], case).items())
        print(f'{name} {k}: {min(server.times[1:] or server.times):.2f} ms; {said}')
    if before:
        print(f'{name} differences:', json.dumps(compared(found['now'], found['before'], case)), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--work', type=Path)
    parser.add_argument('--before', type=Path)
    parser.add_argument('--rounds', type=int, default=4)
    parser.add_argument('--cases', nargs='+', choices=CASES, default=list(CASES))
    parser.add_argument('--serve', type=Path, nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve(*args.serve)
        return
    args.work.mkdir(parents=True, exist_ok=True)
    for name in args.cases:
        measured(name, args.before, args.rounds, args.work)


if __name__ == '__main__':
    main()
