"""A fold model in the model folder of its run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from ... import __version__
from ..errors import InputError
from ..files import file_digest
from ..inference.card import CARD, read_card
from ..inference.model_writer import save_model
from ..job import Job
from ..shapes import Json
from .loop import SCORES

if TYPE_CHECKING:
    from .run import FoldTask

# Entries of a fold model in the card: a file of it, and its digest.
KINDS = (('weights', 'sha256'), ('ids', 'ids_sha256'))


def write_model(task: FoldTask, job: Job, generator: nn.Module, score: Json) -> None:
    """Write the generator of a fold model beside those of the other fold models: from the first evaluation on there
    is a usable model."""
    folder = job.output('model')
    others = [m for m in _members(folder) if m['name'] != task.name and m['name'] in task.all_names]
    card = _card(task, job)
    every = [score, *(m['metrics'] for m in others)]
    card['metrics'] = {k: float(np.mean([m[k] for m in every])) for k in SCORES if k in score} if others else score
    name, prior = task.name, task.pairs.map_prior
    save_model(
        folder, card, {name: generator}, {name: task.who}, {name: {'metrics': score}}, others,
        {} if prior is None else {name: prior},
    )  # fmt: skip


def holds(folder: Path, name: str) -> bool:
    """Whether the weights of a fold model lie in a model folder, as they were written."""
    members = {m['name']: m for m in _members(folder)}
    if name not in members:
        return False
    files = [(members[name][kind], members[name][digest]) for kind, digest in KINDS]
    guide = members[name].get('guide')
    files += [(guide['bank'], guide['sha256'])] if guide else []
    return all((folder / file).is_file() and file_digest(folder / file) == digest for file, digest in files)


def _members(folder: Path) -> list[Json]:
    """What the card says of the fold models; nothing where there is no card, or a damaged one: it is written anew."""
    try:
        found: list[Json] = read_card(folder)[0]['members'] if (folder / CARD).exists() else []
    except InputError:
        return []
    return found


def _card(task: FoldTask, job: Job) -> dict[str, Any]:
    s, pairs, scale = task.settings, task.pairs, task.pairs.scale
    card = {
        'network': {'name': s.network, 'options': task.options},
        'box': pairs.box,
        'pixel_size': pairs.pixel_size,
        'target': s.target,
        'ctf': pairs.ctf,
        'input': {'mean': scale.mean, 'sd': scale.sd},
        'grey': {'gain': scale.gain, 'offset': scale.offset},
        'units': {'scale': 1 / scale.unit_scale, 'offset': -scale.unit_offset / scale.unit_scale},
        'settings': job.settings.as_dict(),
        'data': {'inputs': job.inputs, 'training_particles': task.identity['training_particles']},
        'versions': {'cryoemgan': __version__, 'torch': torch.__version__},
    }
    if pairs.gains is not None:
        card['whitening'] = {'gains': pairs.gains.tolist()}
    return card
