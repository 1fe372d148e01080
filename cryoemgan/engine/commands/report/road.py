"""The steps of the road: which command, with which options, into which folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ...data.refinement import Refinement
from ...settings.report import Report
from ...shapes import Json
from .steps import Step

REFERENCES = '1_references'
TRAINED, GUIDED = 'trained', 'guided'
# {network: (words for it, its options of train)}
NETWORKS = {
    TRAINED: ('trained on the map', {}),
    GUIDED: ('guided by the map', {'network': 'guided'}),
}
TRAINING = {TRAINED: '2_train_trained', GUIDED: '3_train_guided'}
DENOISED = {TRAINED: '4_denoised_trained', GUIDED: '5_denoised_guided'}
AUDIT = {TRAINED: '6_audit_trained', GUIDED: '7_audit_guided'}
EVALUATION, SELECTION = '8_evaluation', '9_selection'


def project_options(refinement: Refinement) -> Json:
    """Options of ``project``: half maps before the map that both half sets share."""
    r = refinement
    maps = {'half1': r.half1, 'half2': r.half2} if r.half1 else {'volume': r.volume}
    found = {'particles': r.particles, **maps, 'mask': r.mask}
    return {name: str(path) for name, path in found.items() if path}


def steps(s: Report, refinement: Refinement, training: Json, root: Path) -> Iterator[Step]:
    """The steps in their order. training: further options of both trainings. root: where their folders lie."""
    particles, references = str(refinement.particles), str(root / REFERENCES / 'references.star')
    pair = {'particles': particles, 'references': references}
    yield Step(REFERENCES, 'project', 'The map projected at every particle', project_options(refinement))
    for network, (words, options) in NETWORKS.items():
        length = {} if set(training) & {'iterations', 'epochs'} else {'minutes': round(s.minutes / len(NETWORKS), 4)}
        yield Step(TRAINING[network], 'train', f'Network {words}', {**training, **pair, **options, **length})
    models = {network: str(root / TRAINING[network] / 'model') for network in NETWORKS}
    for network, (words, _) in NETWORKS.items():
        options = {'particles': particles, 'model': models[network]}
        yield Step(DENOISED[network], 'denoise', f'Particles denoised by the network {words}', options)
    for network, (words, _) in NETWORKS.items():
        yield Step(AUDIT[network], 'audit', f'Audit of the network {words}', {**pair, 'model': models[network]})
    denoised = {network: str(root / DENOISED[network] / 'denoised.star') for network in NETWORKS}
    compared = [f'noisy={particles}', *(f'{n}={path}' for n, path in denoised.items())]
    yield Step(
        EVALUATION, 'evaluate', 'All compared with the references', {'references': references, 'particles': compared}
    )
    yield Step(SELECTION, 'select', 'Particles sorted by their fit to the map', {
        'particles': denoised[GUIDED], 'source': particles, 'scores': [references], 'fit': s.limit, 'denoised': True,
    })  # fmt: skip
