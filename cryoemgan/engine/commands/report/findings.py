"""What the steps of a report found, in sentences for a person: verdict, limits, what to do next."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...data.refinement import Refinement
from ...settings import road
from ...settings.report import Report
from ...shapes import Json
from ...trust.thresholds import THRESHOLDS

# Part of the particles rejected beyond the expected cost of the limit, from which on the set holds others, too.
MANY = 0.05
# A training whose best moment lies in the last tenth of its iterations was still getting better.
UNFINISHED = 0.9

USE = {
    'green': 'The denoised particles may be used for looking, sorting and clustering.',
    'yellow': 'Use the denoised particles with care, and read the yellow lines below.',
    'red': 'Do not rely on the denoised particles: read the red lines below.',
}


def pairs_are_wrong(project: Json) -> bool:
    """Whether the particles fit another reading of the table better, or the references not at all."""
    found = project['correlation']
    error = found['sd'] / max(found['count'], 1) ** 0.5
    absent = found['mean'] - found['shuffled_mean'] < max(3 * error, 0.1 * found['mean'])
    return bool(absent or project['alternatives'].get('certain'))


def collect(refinement: Refinement, done: dict[str, Json], records: list[Json], settings: Report) -> Json:
    """Everything that the page says. done: {folder of a step: its summary}."""
    project, selection = done[road.REFERENCES], done.get(road.SELECTION)
    networks = [_network(name, done) for name in road.NETWORKS if road.AUDIT[name] in done]
    return {
        'verdict': _verdict(project, networks, selection),
        'refinement': _files(refinement, project),
        'pairs': {**project['correlation'], 'alternatives': project['alternatives'], 'warnings': project['warnings']},
        'networks': networks,
        'selection': selection and _selection(selection),
        'scores': _methods(done),
        'limits': _limits(project, networks),
        'next': _next(project, networks, selection, settings),
        'steps': records,
    }


def _network(name: str, done: dict[str, Json]) -> Json:
    """What is known of one network."""
    training, audit, denoised = (done[folder[name]] for folder in (road.TRAINING, road.AUDIT, road.DENOISED))
    lights = [
        {
            'colour': colour, 'title': THRESHOLDS[measure].title, 'value': audit['judged'][measure],
            'sentence': THRESHOLDS[measure].sentence(colour), 'name': measure,
        }
        for measure, colour in audit['lights'].items()
    ]  # fmt: skip
    return {
        'name': name, 'words': road.NETWORKS[name], 'colour': audit['overall'], 'lights': lights,
        'use': USE[audit['overall']], 'cut': denoised['resolution_cut'], 'statement': denoised['statement'],
        'uncertainty': denoised['uncertainty_median'], 'fit': denoised.get('fit'),
        'poses': denoised.get('poses'),
        'warnings': [*training['warnings'], *denoised['warnings']],
        'training_seconds': training['training_seconds'], 'improving': _still_improving(training),
    }  # fmt: skip


def _still_improving(training: Json) -> bool:
    members = (training.get('members') or {}).values()
    return any(m['best']['iteration'] > UNFINISHED * m['iterations'] for m in members)


def _verdict(project: Json, networks: list[Json], selection: Json | None) -> Json:
    if pairs_are_wrong(project):
        best = project['alternatives']['best']
        why = (
            f'they agree better with {best}'
            if project['alternatives'].get('certain')
            else 'they agree with their own projections of the map hardly better than with those of other particles'
        )
        return {
            'colour': 'red',
            'headline': f'Particles and map do not belong together as they are: {why}.',
            'sentences': list(project['warnings']),
        }
    guided = next(n for n in networks if n['name'] == road.GUIDED)
    sentences = [f'The network {n["words"]}: {n["colour"].upper()}. {_trust(n)}' for n in networks]
    sentences += _opinion(networks)
    sentences += _other_state(project)
    headline = USE[guided['colour']]
    if selection:
        headline = f'{selection["kept"]:,} of {selection["particles"]:,} particles kept. {headline}'
        sentences.insert(0, _sorting(selection))
    if guided['colour'] != 'red' and any(n['colour'] == 'red' for n in networks):
        sentences.append('Use the images of the network guided by the map; the other one may need more training.')
    return {'colour': guided['colour'], 'headline': headline, 'sentences': sentences}


def _opinion(networks: list[Json]) -> list[str]:
    """What the network that never saw the map adds, where there is one."""
    colours = {light['colour'] for n in networks for light in n['lights'] if light['name'] == 'opinion'}
    if not colours:
        return []
    if colours == {'green'}:
        return ['A third network, which never saw the map, finds nothing in the particles that the map lacks.']
    return [
        'A third network, which never saw the map, is nearer to the particles than the map explains: they may hold '
        'something that is not in the map. Compare its class averages with projections of the map.'
    ]


def _other_state(project: Json) -> list[str]:
    """What the particles say of a state that the map does not show, where they say it clearly."""
    found = project.get('other_state') or {}
    return [f'{found["statement"]}.'] if 'where' in found else []


def _trust(network: Json) -> str:
    """How far the images of a network can be trusted, in resolution and in contrast."""
    cut, error = network['cut'], network['uncertainty']
    said = [f'Its images show nothing finer than {cut:.1f} Å, because the particles do not support it.'] if cut else []
    if error is not None:
        said.append(f'Half of them have an expected error of more than {error:.0%} of their contrast.')
    return ' '.join(said)


def _sorting(selection: Json) -> str:
    rejected, loss = selection['rejected'] / selection['particles'], selection['expected_loss']
    by = ' and '.join(limit['score'] for limit in selection['limits'])
    said = f'{selection["rejected"]:,} particles ({rejected:.1%}) were rejected by their {by}'
    if loss is None:
        return f'{said}.'
    if _holds_others(selection):
        return (
            f'{said}. If all particles were good, {loss:.0%} would have been: the set contains junk, another molecule '
            'or another state. Look at the rejected particles before you discard them.'
        )
    return f'{said}. That is about as many as if all particles were good ({loss:.0%}): there is hardly any junk.'


def _holds_others(selection: Json) -> bool:
    """Whether clearly more was rejected than the limit costs in good particles."""
    rejected: float = selection['rejected'] / selection['particles']
    return rejected > (selection['expected_loss'] or 0.0) + MANY


def _files(refinement: Refinement, project: Json) -> Json:
    names = ('particles', 'half1', 'half2', 'volume', 'mask')
    return {
        'files': {n: _shown(getattr(refinement, n)) for n in names if getattr(refinement, n)},
        'said': refinement.said,
        'particles': project['particles'],
        'box': project['box'],
        'pixel_size': project['pixel_size'],
        'resolution': refinement.resolution,
        'half_map_resolution': project['half_map_resolution'],
        'lowpass': project['lowpass'],
        'fsc': None if refinement.fsc is None else [column.tolist() for column in refinement.fsc],
    }


def _shown(path: str | Path) -> str:
    """A path as a person would write it: from the folder of the project where it lies in there."""
    absolute, here = Path(path).absolute(), Path.cwd()
    return str(absolute.relative_to(here) if absolute.is_relative_to(here) else path)


def _selection(selection: Json) -> Json:
    kept = ('particles', 'kept', 'rejected', 'expected_loss', 'good_particles', 'sentence', 'limits', 'half_sets')
    return {name: selection[name] for name in kept}


def _methods(done: dict[str, Json]) -> list[Json]:
    """Rows of the table of scores: against the references, after a fit of the grey scale."""
    methods: dict[str, Any] = (done.get(road.EVALUATION) or {}).get('methods', {})
    words = road.NETWORKS | {'noisy': 'noisy particles'}
    return [
        {
            'name': words.get(name, name), 'ncc': m['ncc']['mean'], 'mse': m['affine']['mse']['mean'],
            'ssim': m['affine']['ssim']['mean'], 'resolution': m['frc_0.5'],
        }
        for name, m in methods.items()
    ]  # fmt: skip


def _limits(project: Json, networks: list[Json]) -> list[str]:
    """What these pictures cannot show."""
    found = [
        'Denoised particles are for looking, sorting and clustering. Reconstruct from the original particles, because '
        'a network that has seen a map can draw that map.',
    ]
    if project['half_map_resolution']:
        found.append(
            f'The half maps agree to {project["half_map_resolution"]:.1f} Å. The references contain nothing finer than '
            f'{project["lowpass"]:.1f} Å, and neither do the images of a network that learnt from them.'
        )
    for n in networks:
        if n['fit']:
            found.append(f'Sorting by the fit: {n["fit"]}.')
        if n['poses']:
            found.append(f'Angles: {n["poses"].removeprefix("poses: ")}.')
    if networks:
        found.append(
            'The network guided by the map shows only what is in the map. Any other state, ligand or contaminant is '
            'drawn as the most similar projection of the map. Such particles can be recognised by their fit, not by '
            'their picture.'
        )
        found.append(
            'The scores are measured against projections of the map, not against the truth, which is unknown: they '
            'say how closely a picture repeats the map.'
        )
    return found


def _next(project: Json, networks: list[Json], selection: Json | None, settings: Report) -> list[str]:
    if pairs_are_wrong(project):
        return [
            'Make sure that particles and map come from the same refinement: its run_data.star and its own half maps.',
            'If something is named above that fits better, correct it (the contrast, the pixel size in the table, the '
            'hand of the map), and run this again with --overwrite (in Scipion: Restart).',
        ]
    found = []
    if selection and _holds_others(selection):
        found += [
            'Look at the rejected particles in the gallery below (red frames, worst first).',
            f'If they are junk, refine again from the kept particles: {road.SELECTION}/kept.star (in Scipion: '
            'outputParticles). They have their original images and their angles.',
            f'If you are not sure, classify the rejected particles in 2D: {road.SELECTION}/rejected.star (in Scipion: '
            'outputRejected). They may be junk, or a state of their own.',
        ]
    elif selection:
        found.append(
            'There is no need to remove particles: continue with the set that you have. The gallery below shows the '
            'worst particles first, if you want to check.'
        )
    if any(n['improving'] for n in networks):
        found.append(
            'A network was still improving when its time was up. To train it further, repeat the command with '
            f'--resume --minutes {2 * settings.minutes:g} (in Scipion: raise "Training time" and Continue).'
        )
    lights = {light['name']: light for n in networks for light in n['lights'] if light['colour'] != 'green'}
    found += [f'"{light["title"]}" is {light["colour"]}: {light["sentence"]}' for light in lights.values()]
    if any(light['name'] == 'opinion' for n in networks for light in n['lights']):
        return found
    found.append(
        'To look for something that is not in the map (another state, a ligand), train a map-free network (cryoemgan '
        'train --target self) and compare the two in an audit (cryoemgan audit --second-model), or let this command do '
        'both (--second-opinion).'
    )
    return found
