"""Results of several runs of one command, each on other particles, as one run on all would have written them."""

import os
import re

import numpy as np

from .engine.data.table import ParticleTable
from .engine.files import CHECKSUM
from .engine.finished import FILES
from .engine.posterior import class_columns, pose_columns
from .engine.posterior.p_value import FLAG, SURE, Power, words
from .results import Result, own_columns

# Numbers of a summary that add up.
SUMS = ('particles', 'wall_seconds', 'cpu_seconds', 'leakage', 'constant_images')
# What stands for infinity in a table.
UNKNOWN = 999.0


def join_tables(particles, parts, path):
    """Write the table of all results; returns it. particles: table of what went in; parts: tables of the results."""
    source, results = ParticleTable.read(particles), [Result(p) for p in parts]
    tables = [ParticleTable.read(p) for p in parts]
    place = {i: (k, row) for k, t in enumerate(tables) for row, i in enumerate(t.ints('rlnImageId').tolist())}
    ids = source.ints('rlnImageId').tolist()
    kept = [row for row, i in enumerate(ids) if i in place]
    places = [place[ids[row]] for row in kept]
    whole = source.derive('denoised.mrcs', box=results[0].box, pixel_size=results[0].pixel_size, rows=kept)
    stacks = [os.path.relpath(r.stack, os.path.dirname(path)) for r in results]
    whole.set('rlnImageName', [f'{results[k].numbers[row]:06d}@{stacks[k]}' for k, row in places])
    for label, _, _ in own_columns(tables[0]):
        columns = [t.strings(label) for t in tables]
        whole.set(label, [columns[k][row] for k, row in places])
    known = tables[0].provenance
    whole.set_provenance(**{**known, **({'leakage': _leaked(tables)} if 'leakage' in known else {})})
    whole.write(path)
    return whole


def _leaked(tables):
    return sum(int(t.provenance['leakage']) for t in tables)


def join_summaries(summaries, table):
    """The summary of all runs; summaries: {number of the run: its summary}; table: of all results."""
    found = list(summaries.values())
    joined = {**found[0], **{key: sum(s[key] for s in found) for key in SUMS if key in found[0]}}
    for key in (FILES, CHECKSUM):
        # They are the first run's own.
        joined.pop(key, None)
    joined['batches'] = len(found)
    joined['left_out'] = [name for s in found for name in s.get('left_out', [])]
    joined['warnings'] = _joined_warnings(summaries)
    if 'uncertainty_median' in joined:
        joined['uncertainty_median'] = _median(table, 'cryoemganUncertainty', below=UNKNOWN)
    if 'noise_sd' in joined:
        joined['noise_sd'] = {f.__name__: f(s['noise_sd'][f.__name__] for s in found) for f in (min, max)}
    if 'poses' in joined:
        poses, classes = pose_columns.agreement(table), class_columns.counts(table)
        joined |= {'pose_agreement': poses, 'poses': poses and pose_columns.words(poses),
                   'class_counts': classes, 'classes': classes and class_columns.words(classes)}  # fmt: skip
    if 'fit' in joined:
        joined |= _joined_scores(joined, table, found)
    return joined


def _joined_scores(joined, table, summaries):
    """What the summary of a guided model says of the scores; the sentence of the first run when fit tells nothing."""
    medians = {f'{name}_median': _median(table, label) for name, label in (
        ('evidence', 'cryoemganEvidence'), ('misfit', 'cryoemganMisfit'),
        ('pose_disagreement', 'cryoemganPoseDisagreement'))}  # fmt: skip
    if not table.has('cryoemganFit'):
        return medians
    fit, power = table.floats('cryoemganFit'), joined['fit_power']
    doubtful, strange = (float((fit < limit).mean()) for limit in (FLAG, SURE))
    # Batches may be asked by other fold models each.
    ranges = [s['fit_flags'] for s in summaries if s.get('fit_flags')]
    flags = (min(low for low, _ in ranges), max(high for _, high in ranges)) if ranges else None
    said = words(fit, power and Power(**power), flags=flags)
    return {**medians, 'fit_flags': flags, 'fit': said, 'doubtful': doubtful, 'strange': strange}


def _joined_warnings(summaries):
    """Each warning once, with the run that said it first; numbers in it may differ from run to run."""
    told = {}
    for number, summary in summaries.items():
        for sentence in summary.get('warnings', []):
            told.setdefault(re.sub(r'[\d.]+', '#', sentence), f'batch {number}: {sentence}')
    return list(told.values())


def _median(table, label, below=np.inf):
    values = table.floats(label) if table.has(label) else np.zeros(0)
    values = values[values < below]
    return float(np.median(values)) if len(values) else None
