"""The template library of a fold model without a map: learned once from its training particles, and kept on disk."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import load_file

from ..data.sampling import evenly_spread
from ..data.stack_writer import StackWriter
from ..data.tensors import write_tensors
from ..files import atomic, file_digest, read_state, write_state
from ..job import Job
from ..shapes import Floats, Images
from . import learned_library
from .library import TemplateLibrary
from .sources import shift_reach

if TYPE_CHECKING:
    from lightning_fabric import Fabric

# Raised when templates that an earlier version left would not do for this one.
FORMAT = 2
DONE, TEMPLATES = 'templates.json', 'templates.safetensors'
AVERAGES, COUNTS = 'averages.mrcs', 'averages.csv'
# Part of --minutes that learning templates may take: asking them about every particle, and training, come behind.
LEARNING = 0.5


def library_of(job: Job, member: Any, folder: Path, fabric: Fabric) -> TemplateLibrary:
    """TemplateLibrary of what the training particles of a fold model show, in the grey scale of standardised ones; that
    of an interrupted run is taken up again. All processes of the run call it, one of them learns.

    member: a `training.run.FoldTask` with pairs of kind 'recorrupted'.
    """
    found: Images = fabric.broadcast(_images(job, member, folder) if fabric.is_global_zero else np.zeros(0, np.float32))
    return learned_library.of_templates(found, fabric.device)


def _images(job: Job, member: Any, folder: Path) -> Images:
    """The templates, taken up or learned and kept."""
    kept = _kept(job, member, folder)
    if kept is not None:
        return kept
    images, shown = _learn(job, member)
    with atomic(folder / TEMPLATES) as partial:
        write_tensors({'templates': torch.from_numpy(images), 'shown': torch.from_numpy(shown)}, partial)
    write_state(folder / DONE, {'identity': _identity(member), 'sha256': file_digest(folder / TEMPLATES)})
    return images


def write_averages(job: Job, pairs: Any, places: Mapping[str, str]) -> None:
    """The templates of all fold models as class averages: a stack, and how many particles show each.

    pairs: `training.noisy_pairs.NoisyPairs`; places: folder of each fold model, relative to the run's.
    """
    found = {name: load_file(job.folder / place / TEMPLATES) for name, place in places.items()}
    count = sum(len(x['shown']) for x in found.values())
    with StackWriter(job.output(AVERAGES), count, pairs.box, pairs.pixel_size) as stack:
        for x in found.values():
            stack.append(pairs.scale.sd * x['templates'].numpy() + pairs.scale.mean)
    with atomic(job.output(COUNTS)) as partial, open(partial, 'w', newline='', encoding='utf-8') as file:
        writer = csv.writer(file)
        writer.writerow(['average', 'fold_model', 'particles'])
        rows = ((name, shown) for name, x in found.items() for shown in x['shown'].tolist())
        writer.writerows((k, name, f'{shown:.1f}') for k, (name, shown) in enumerate(rows, 1))


def _learn(job: Job, member: Any) -> tuple[Images, Floats]:
    """The templates, and by how many particles each is shown."""
    settings, pairs = member.settings, member.pairs
    reach = shift_reach(settings, pairs, member.training)[0] * pairs.white_box / pairs.box
    chosen = member.training[evenly_spread(len(member.training), learned_library.LARGEST_COUNT)]
    seconds = settings.minutes and LEARNING * 60 * settings.minutes
    with job.progress(learned_library.ROUNDS, 'learning templates') as bar:
        found = learned_library.learn(
            lambda: pairs.white(chosen), pairs.white_box, reach, settings.seed, bar.update, seconds=seconds
        )
    if found.particles < found.many:
        job.say(
            f'{settings.minutes:.3g} minutes are not enough to learn templates from all particles: {found.particles} '
            f'of {found.many} are used'
        )
    images: Images = pairs.unwhitened(found.images)
    return images, found.shown


def _kept(job: Job, member: Any, folder: Path) -> Images | None:
    """Templates of an interrupted run of the same, or None."""
    if not member.settings.resume or not (folder / DONE).is_file():
        return None
    kept = read_state(folder / DONE)
    if kept is not None and kept['identity'] != _identity(member):
        return None
    if kept is None or not (folder / TEMPLATES).is_file() or file_digest(folder / TEMPLATES) != kept['sha256']:
        job.warn(f'{folder / TEMPLATES} is missing or damaged: templates are learned again')
        return None
    images: Images = load_file(folder / TEMPLATES)['templates'].numpy()
    return images


def _identity(member: Any) -> str:
    return hashlib.sha256(json.dumps([FORMAT, member.identity], sort_keys=True, default=str).encode()).hexdigest()
