"""The audit on one page: pictures, and an HTML file that holds them and needs nothing else."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ... import figures
from ..files import atomic
from ..job import Job
from ..shapes import AnyPath, Json
from .examination import Findings
from .thresholds import THRESHOLDS

STYLE = """
body { font: 15px/1.5 sans-serif; max-width: 62em; margin: 2em auto; padding: 0 1em; color: #222 }
table { border-collapse: collapse; width: 100% } td, th { text-align: left; padding: .35em .6em; vertical-align: top }
tr { border-bottom: 1px solid #ddd } img { max-width: 100% } h2 { margin-top: 1.6em }
.light { display: inline-block; width: .9em; height: .9em; border-radius: 50%; margin-right: .5em }
p.caption { color: #555; font-size: .9em; max-width: 48em }
.box { padding: .8em 1.2em; border-left: .5em solid; background: #f6f6f6 }
"""
STYLE += ' '.join(f'.{name} {{ background: {colour} }}' for name, colour in figures.audit.LIGHTS.items())
VERDICT = {
    'green': 'Nothing was found that speaks against these denoised particles.',
    'yellow': 'Use these denoised particles with care: see the yellow lines.',
    'red': 'Do not rely on these denoised particles: see the red lines.',
}


# Under each picture: what it shows, and what to look for.
CAPTIONS = {
    'particles.png': 'Each line is one particle. The expected error: blue is 0; yellow is as much as the contrast '
    '(standard deviation) of the denoised image, the number in the picture, or more: there it may be wrong. One colour '
    'all over: it is not known where in the image the error is larger.',
    'noise.png': 'Noise with the spectrum of the data went in. What comes out was made by the network alone: it should '
    'be flat, or at least look less like the molecule than particles do.',
    'nearest.png': 'Correlation with the most similar of all references. The further apart the two, the less of what '
    'is seen could come from nothing.',
    'calibration.png': 'Particles whose truth is known, because they were made of the references. On the line, the '
    'announced error is the true one; above it, the network is surer than it should be.',
    'bias.png': 'Left: where the bias is above the signal, the network shows what it expects and not what is there. '
    'Right: an average of denoised noise should not look like an average of references (0 is good).',
    'empties.png': 'Noise images, without a particle, went in; as with simulated noise, nothing should come out.',
    'opinion.png': 'Where the weight on particles is above that on simulations, the particles hold something that the '
    'references do not.',
    'opinions.png': 'Where the two models differ, look at the particle before believing either.',
}


def draw(job: Job, found: Findings, pictures: int) -> dict[str, Path]:
    """Write the PNGs of an audit; {title: path}."""
    c, images = found.curves, found.images
    order = np.argsort(found.columns['uncertainty'])
    shown = order[np.linspace(0, len(order) - 1, min(pictures, len(order))).round().astype(int)]
    particles = {k: images[k] for k in ('particle', 'denoised', 'expected error', 'reference')}
    noise = {k: images[k] for k in ('noise', 'denoised noise')}
    plots = {
        'Particles, from the most to the least certain': ('particles.png', figures.audit.strips(particles, shown)),
        'What pure noise becomes': ('noise.png', figures.audit.strips(noise, range(min(3, len(order))))),
        'How much of what we see would appear from nothing': (
            'nearest.png', figures.audit.correlations(c['nearest_real'], c['nearest_noise']),
        ),
        'Does the uncertainty hold? (simulated replicates of the particles)': (
            'calibration.png', figures.audit.calibration(c['expected'], c['errors']),
        ),
        'Bias by resolution': (
            'bias.png', figures.audit.bias(c['frequency'], c['bias'], c['signal'], c['noise_frc']),
        ),
    }  # fmt: skip
    if 'noise image' in images:
        pair = {k: images[k] for k in ('noise image', 'denoised noise image')}
        count = min(3, len(images['noise image']))
        plots['What noise images become'] = ('empties.png', figures.audit.strips(pair, range(count)))
    if 'second opinion' in images:
        three = {k: images[k] for k in ('particle', 'denoised', 'second opinion', 'reference')}
        worst = np.argsort(found.columns['second_opinion'])
        shown = worst[np.linspace(0, len(worst) - 1, min(pictures, len(worst))).round().astype(int)]
        plots['Second opinion: agreement by resolution'] = (
            'opinion.png', figures.audit.opinion(c['frequency'], c['opinion']),
        )  # fmt: skip
        plots['Second opinion, from the least to the best agreement'] = (
            'opinions.png', figures.audit.strips(three, shown),
        )  # fmt: skip
    paths = {}
    for title, (name, figure) in plots.items():
        paths[title] = job.output(name)
        figures.save(figure, paths[title])
    return paths


def write_html(path: AnyPath, results: Json, judged: Mapping[str, float], pictures: Mapping[str, Path]) -> None:
    """One self-contained page."""
    parts = [
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Audit of denoised particles</title>'
        f'<style>{STYLE}</style></head><body><h1>Audit of denoised particles</h1>',
        f'<p class="box"><span class="light {results["overall"]}"></span><b>{results["overall"].upper()}</b>: '
        f'{VERDICT[results["overall"]]} Denoised particles are {html.escape(results["statement"])}.</p>',
        _lights(results, judged),
        _words(results),
    ]
    for title, picture in pictures.items():
        data = base64.b64encode(picture.read_bytes()).decode()
        parts.append(
            f'<h2>{html.escape(title)}</h2><img alt="{html.escape(title)}" src="data:image/png;base64,{data}">'
            f'<p class="caption">{html.escape(CAPTIONS.get(picture.name, ""))}</p>'
        )
    parts.append('</body></html>\n')
    with atomic(path) as partial:
        partial.write_text('\n'.join(parts), encoding='utf-8')


def _lights(results: Json, judged: Mapping[str, float]) -> str:
    rows = ''
    for name, colour in results['lights'].items():
        limit = THRESHOLDS[name]
        rows += (
            f'<tr><td><span class="light {colour}"></span>{colour}</td><td>{html.escape(limit.title)}</td>'
            f'<td>{judged[name]:.3g}</td><td>{limit.green:g} / {limit.red:g}</td>'
            f'<td>{html.escape(limit.sentence(colour))}</td></tr>'
        )
    titles = ''.join(f'<th>{t}</th>' for t in ('', 'Measure', 'Value', 'limits (green / red)', 'What it means'))
    return f'<table><tr>{titles}</tr>{rows}</table>'


def _words(results: Json) -> str:
    wrong, noise, cut = results['wrong_molecule'], results['noise_in'], results['resolution_cut']
    sentences = [
        f'{results["sample"]} of {results["particles"]} particles were examined. Fold models: '
        f'{html.escape(", ".join(results["members"]))}. Particles denoised by a network that was trained on '
        f'them: {results["leakage"]}.',
        f'Detail is cut at {cut:.1f} Å.' if cut else 'Detail is not cut.',
        f'Pure noise gives {noise["energy"]:.0%} of the contrast energy that particles give.',
        f'A molecule that the network never saw comes out with a correlation of {wrong["foreign"]["own"]:.2f} with '
        f'itself and {wrong["foreign"]["to_training"]:.2f} with the nearest reference '
        f'({wrong["foreign"]["without_network"]:.2f} before the network): the network cannot show what it was not '
        'taught.',
        f'Mirrored particles: {wrong["mirrored"]["own"]:.2f} with themselves, '
        f'{wrong["mirrored"]["to_training"]:.2f} with the nearest reference '
        f'({wrong["mirrored"]["without_network"]:.2f} before the network).',
        'The lights judge the network, by the average particle. They do not judge the set: junk, even if it is a tenth '
        'of the particles, changes no light. Remove junk by the fit, the evidence or the uncertainty (select).',
        f'The median expected error of an image is {results["uncertainty"]["median"]:.0%} of its contrast.',
    ]
    empty, second = results['empty_particles_in'], results['second_opinion']
    if empty:
        sentences.append(
            f'{empty["count"]} noise images give {empty["energy"]:.0%} of the contrast energy, and correlate '
            f'{empty["nearest"]["mean"]:.2f} with the nearest reference (simulated noise '
            f'{noise["nearest"]["mean"]:.2f}, particles {results["denoised"]["nearest"]["mean"]:.2f}).'
        )
    if second:
        sentences.append(
            f'A second model agrees with this one by {second["agreement"]["mean"]:.2f} on particles, by '
            f'{second["agreement_simulations"]["mean"]:.2f} on simulations of the references; {second["disagreeing"]} '
            'particles agree less than all but one in a hundred simulations (column second_opinion of audit.csv). '
            f'Where the two differ, the second is right by {second["weight"]:.0%} on particles and by '
            f'{second["weight_simulations"]:.0%} on simulations. The difference measures what is in the particles but '
            'not in the map.'
        )
    return '<ul>' + ''.join(f'<li>{s}</li>' for s in sentences) + '</ul>'
