"""What becomes of denoised particles downstream, with RELION as the judge.

    python -m benchmarks.studies.downstream --data ../shared/data --work WORK [--cpu 60]

Resumable; needs RELION 3.1 on the PATH; ``--cpu``: seconds of process time of each training.

1,200 particles of RNA polymerase, closed and 20 degrees open (48 px, 6 A/px, CTF, SNR 0.1), 100 empty images and 100 of
another molecule; angles and shifts wrong by 2 degrees and 0.3 px, as a refinement leaves them; half sets at random.
Three cross-fitted denoisers: from the half maps that RELION reconstructs from these very particles; from the same
half maps with a domain added that does not exist (wrong); and without references (self). The same angles everywhere.
"""

import argparse
import json
import subprocess
from pathlib import Path

import mrcfile
import numpy as np
from sklearn.metrics import adjusted_rand_score, roc_auc_score

from cryoemgan.engine.classical.base import corner_noise
from cryoemgan.engine.data.matching import match
from cryoemgan.engine.data.stack_writer import StackWriter
from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.imaging import ctf, maps
from cryoemgan.engine.metrics import frc
from cryoemgan.engine.metrics.resemblance import own
from cryoemgan.engine.trust.negative_controls import foreign_projections, like

from .common import verb

BOX, PIXEL, GOOD, JUNK = 48, 6.0, 1200, 200
RESULTS = Path(__file__).parents[1] / 'results'


def simulated(given):
    """(table with junk in it, truth: 0 closed, 1 open, 2 empty, 3 another molecule) of the set."""
    folder = given.work / 'set'
    models = [given.data / 'rnap_4xln' / f'rnap_4xln_clamp_open{s}.pdb.gz' for s in ('00', '20')]
    verb('simulate', folder, model=models, count=(GOOD + JUNK) // 2, box=BOX, pixel_size=PIXEL, snr=0.1, seed=3,
         scale='none', shift_sd=1, perturb_angles=2, perturb_shifts=0.3,
         ctf_table=given.data / 'relion_refined' / 'run_data.star')  # fmt: skip
    path = folder / 'particles.star'
    source = ParticleTable.read(folder / 'refined.star')
    rng = np.random.default_rng(3)
    truth = source.ints('rlnClassNumber') - 1
    junk = rng.choice(len(source), JUNK, replace=False)
    truth[junk[: JUNK // 2]], truth[junk[JUNK // 2 :]] = 2, 3
    if path.exists():
        return ParticleTable.read(path), truth
    images = source.images().read(np.arange(len(source)))
    noise = corner_noise(images)[1].mean()
    clean = ParticleTable.read(folder / 'clean.star').images().read(np.arange(len(source)))
    foreign = with_ctf(like(foreign_projections(JUNK // 2, BOX, rng), clean), source, np.flatnonzero(truth == 3))
    images[truth > 1] = noise * rng.standard_normal((JUNK, BOX, BOX), dtype=np.float32)
    images[truth == 3] += foreign
    names = source.names()
    table = source.derive('particles.mrcs')
    table.set('rlnImageOriginalName', names)
    table.set('rlnClassNumber', np.ones(len(table), int))
    table.set('rlnRandomSubset', rng.permutation(len(table)) % 2 + 1)
    with StackWriter(folder / 'particles.mrcs', len(images), BOX, PIXEL) as stack:
        stack.append((images / noise).astype(np.float32))
    table.write(path)
    return ParticleTable.read(path), truth


def with_ctf(images, table, rows):
    """Images with the CTF of these rows of a table."""
    import torch

    found = ctf.ctf_rfft(BOX, PIXEL, {k: v[rows] for k, v in table.ctf().items()})
    spectra = torch.fft.rfft2(torch.from_numpy(np.ascontiguousarray(images)))
    return torch.fft.irfft2(ctf.apply_ctf(spectra, found, 'full'), s=(BOX, BOX)).numpy()


def relion(program, folder, output, *words):
    """Run a program of RELION in a folder unless its output is there."""
    if not output.exists():
        subprocess.run([program, *map(str, words)], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return output


def volume(path):
    with mrcfile.open(path) as mrc:
        return mrc.data.astype(np.float32)


def only(table, rows, path):
    """The table of some rows, in the folder of its stack."""
    if not path.exists():
        table.subset(rows).write(path)
    return path


def reconstruct(table, truth, name, work):
    """{'all', 'half1', 'half2': map} of the good particles of a table, by relion_reconstruct."""
    star = only(table, np.flatnonzero(truth < 2), table.path.with_name('good.star'))
    found = {}
    for k, part in enumerate(('all', 'half1', 'half2')):
        output = (work / f'{name}_{part}.mrc').resolve()
        subset = ['--subset', k] if k else []
        relion('relion_reconstruct', star.parent, output, '--i', star.name, '--o', output, '--ctf', *subset)
        found[part] = volume(output)
    return found


def false_domain(like_this):
    """A Gaussian blob float32[N, N, N] of 12 A s.d. as dense as the molecule, 60 A from the centre, where a map is
    emptiest; and its weight for `domain`: 1 inside two s.d."""
    k = (np.arange(BOX) - BOX // 2) * PIXEL
    smooth = maps.lowpass(like_this, PIXEL, 40, axes=(-3, -2, -1))
    grid = np.stack(np.meshgrid(k, k, k, indexing='ij'), -1)
    shell = np.abs(np.linalg.norm(grid, axis=-1) - 60) < 4
    centre = grid[shell][smooth[shell].argmin()]
    distance = np.linalg.norm(grid - centre, axis=-1)
    height = np.percentile(smooth, 99.5)
    return (height * np.exp(-(distance**2) / (2 * 12**2))).astype(np.float32), distance < 24


def wrong_half_maps(given, made):
    """{'half1', 'half2': path} of the half maps with the false domain."""
    blob, _ = false_domain(made['all'])
    paths = {}
    for half in ('half1', 'half2'):
        paths[half] = given.work / f'false_{half}.mrc'
        with mrcfile.new(paths[half], overwrite=True) as mrc:
            mrc.set_data(made[half] + blob)
            mrc.voxel_size = PIXEL
    return paths


def domain(found, made):
    """How much of the false domain is in a map: slope of the map on the blob, within it, on the molecule's scale."""
    blob, inside = false_domain(made['raw']['all'])
    scale = (found * made['raw']['all']).sum() / np.square(made['raw']['all']).sum()
    difference = found / scale - made['raw']['all']
    return float((difference * blob)[inside].sum() / np.square(blob)[inside].sum())


def classify(table, truth, reference, work, name):
    """(accuracy, adjusted Rand index) of 3D classification into two without alignment, 20 iterations, two seeds."""
    star = only(table, np.flatnonzero(truth < 2), table.path.with_name('good.star'))
    scores = []
    for seed in (1, 2):
        folder = (work / f'class_{name}_{seed}').resolve()
        folder.mkdir(exist_ok=True)
        output = relion(
            'relion_refine', star.parent, folder / 'run_it020_data.star', '--i', star.name, '--o', folder / 'run',
            '--ref', reference.resolve(), '--ini_high', 40, '--K', 2, '--iter', 20, '--skip_align', '--ctf',
            '--particle_diameter', 270, '--tau2_fudge', 4, '--flatten_solvent', '--zero_mask', '--dont_check_norm',
            '--pad', 1, '--j', 1, '--random_seed', seed,
        )  # fmt: skip
        good = ParticleTable.read(star)
        found = ParticleTable.read(output)
        rows, others = match(good, found)
        labels, right = found.ints('rlnClassNumber')[others] - 1, truth[truth < 2][rows]
        hits = (labels == right).mean()
        scores.append((max(hits, 1 - hits), adjusted_rand_score(right, labels)))
    return scores


def denoiser(given, name, table, references=None, **options):
    """Table of the particles denoised by a cross-fitted model."""
    folder = given.work / name
    more = {'references': references, 'force': True} if references else {'target': 'self'}
    train = verb('train', folder / 'train', particles=table.path, evaluations=6, **more, **options)
    verb('denoise', folder / 'denoise', particles=table.path, model=folder / 'train' / 'model')
    return ParticleTable.read(folder / 'denoise' / 'denoised.star'), train


def images_like(table, particles):
    rows, others = match(particles, table)
    images = np.empty((len(particles), BOX, BOX), np.float32)
    images[rows] = table.images().read(others)
    return images


def resolution(curve, limit):
    found = frc.resolution(curve, limit, PIXEL, BOX)
    return f'{found:.1f}' if found else '-'


def auc(score, truth):
    """(empty, another molecule): area under the curve of telling particles from junk by a score that is high for
    particles."""
    return tuple(
        roc_auc_score(truth[(truth < 2) | (truth == k)] < 2, score[(truth < 2) | (truth == k)]) for k in (2, 3)
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', type=Path, required=True)
    parser.add_argument('--work', type=Path, required=True)
    parser.add_argument('--cpu', type=float, default=60, help='CPU seconds of each training')
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    table, truth = simulated(given)
    raw = reconstruct(table, truth, 'raw', given.work)
    halves = {f'half{k}': given.work / f'raw_half{k}.mrc' for k in (1, 2)}
    right = verb('project', given.work / 'project', particles=table.path, **halves)
    badly = verb('project', given.work / 'project_wrong', particles=table.path, **wrong_half_maps(given, raw))
    tables, minutes = {'raw': table}, given.cpu / 60
    stars = {k: given.work / f / 'references.star' for k, f in (('own', 'project'), ('wrong', 'project_wrong'))}
    tables['denoised'], _ = denoiser(given, 'own', table, stars['own'], minutes=minutes)
    tables['wrong'], _ = denoiser(given, 'wrong', table, stars['wrong'], minutes=minutes)
    tables['self'], _ = denoiser(given, 'self', table, minutes=minutes)
    audits = {name: verb('audit', given.work / f'audit_{name}', particles=table.path, references=stars[name],
                           model=given.work / name / 'train' / 'model', sample=400,
                           second_model=given.work / 'self' / 'train' / 'model') for name in stars}  # fmt: skip
    found = {'project': {k: p.get('correlation') or p.get('agreement') for k, p in (('own', right), ('wrong', badly))},
             'warnings': {'own': right['warnings'], 'wrong': badly['warnings']},
             'audits': {k: a['lights'] for k, a in audits.items()},
             'judged': {k: a['judged'] for k, a in audits.items()}}  # fmt: skip

    sphere = maps_sphere()
    volumes = [volume(given.work / 'set' / f'volume_{k}.mrc') for k in (1, 2)]
    true = np.mean(volumes, axis=0)
    other = raw['all'] + false_domain(raw['all'])[0]
    made = {name: reconstruct(t, truth, name, given.work) for name, t in tables.items()}
    found['domain'] = {k: domain(m['all'], made) for k, m in made.items()}
    found['fsc'] = {}
    for name, m in made.items():
        curves = {'truth': frc.shell_correlation(m['all'] * sphere, true * sphere),
                  'training map': frc.shell_correlation(m['all'] * sphere, other * sphere),
                  'half maps': frc.shell_correlation(m['half1'] * sphere, m['half2'] * sphere)}  # fmt: skip
        found['fsc'][name] = {k: {'curve': c.tolist(), 'mean': float(c[1:17].mean()), '0.5': resolution(c, 0.5),
                                  '0.143': resolution(c, 0.143)} for k, c in curves.items()}  # fmt: skip
    found['classes'] = {
        k: classify(tables[k], truth, given.work / 'raw_all.mrc', given.work, k) for k in ('raw', 'denoised', 'self')
    }
    references = images_like(ParticleTable.read(stars['own']), table)
    found['junk'] = {}
    for name, t in tables.items():
        images = images_like(t, table)
        rows, others = match(table, t)
        scores = {'correlation with the reference': own(images, references), 'contrast': images.std((1, 2))}
        if t.has('cryoemganUncertainty'):
            sure = np.empty(len(table))
            sure[rows] = -t.floats('cryoemganUncertainty')[others]
            scores['certainty'] = sure
        found['junk'][name] = {k: auc(v, truth) for k, v in scores.items()}
    (given.work / 'found.json').write_text(json.dumps(found, indent=1))
    picture(found, {'truth': true, 'map with a\nfalse domain': other, **{k: m['all'] for k, m in made.items()}})
    tell(found)


def maps_sphere():
    """Soft sphere float32[N, N, N] of 0.42 boxes."""
    k = np.arange(BOX) - BOX // 2
    radius = np.sqrt(k[:, None, None] ** 2 + k[:, None] ** 2 + k**2) / BOX
    return (0.5 - 0.5 * np.sin(np.pi * ((radius - 0.42) / 0.06).clip(-0.5, 0.5))).astype(np.float32)


def tell(found):
    """Print the tables."""
    for name, curves in found['fsc'].items():
        print(f'{name:10}', {k: (round(v['mean'], 3), v['0.5'], v['0.143']) for k, v in curves.items()})
    for key in ('domain', 'classes', 'junk', 'project', 'warnings', 'audits', 'judged'):
        for name, value in found[key].items():
            print(key, name, value)


def picture(found, volumes):
    """benchmarks/results/downstream.png: sections of the maps, and FSC curves."""
    from cryoemgan import figures

    figure = figures.style.new_figure(11, 5.6)
    grid = figure.subplot_mosaic([list('abcdef'), ['x'] * 3 + ['z'] * 3], height_ratios=[1, 1.5])
    words = {
        'raw': 'from raw',
        'denoised': 'from denoised',
        'wrong': 'denoised,\nfalse domain in the map',
        'self': 'denoised,\nno map',
    }
    at = np.unravel_index(false_domain(volumes['raw'])[0].argmax(), (BOX,) * 3)[0]
    for letter, (name, data) in zip('abcdef', volumes.items()):
        low, high = np.percentile(data[at], [1, 99.8])
        grid[letter].imshow(data[at], cmap='gray', vmin=low, vmax=high, origin='lower')
        grid[letter].set_title(words.get(name, name), fontsize=8)
        grid[letter].set_axis_off()
    frequency = np.arange(BOX // 2 + 1) / (BOX * PIXEL)
    for letter, kind in zip('xz', ('truth', 'half maps')):
        for i, (name, curves) in enumerate(found['fsc'].items()):
            grid[letter].plot(frequency[1:], curves[kind]['curve'][1:], label=words[name].replace('\n', ' '),
                              **figures.style.line_style(i))  # fmt: skip
        title = {'truth': 'with the truth', 'half maps': 'of the two half maps'}[kind]
        grid[letter].set(title=f'FSC {title}', ylim=(-0.1, 1.03), xlabel='spatial frequency (1/Å)')
        figures.style.tidy(grid[letter])
    grid['x'].legend(frameon=False, fontsize=7)
    figures.save(figure, RESULTS / 'downstream.png')


if __name__ == '__main__':
    main()
