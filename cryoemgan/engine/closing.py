"""What a finished command says last to whoever typed it: where the result is, what to look at, and what comes next."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from pathlib import Path

from .run_folder import leader
from .settings.base import Settings
from .shapes import Json
from .signals import PARENT

# The page of a result; others have a gallery.
PAGES = ('report.html', 'audit.html', 'gallery.html')
# What a table of a result holds.
TABLES = {
    'simulate': {
        'noisy.star': 'the particles',
        'refined.star': 'the particles as a refinement leaves them',
        'clean.star': 'the truth, without noise',
    },
    'select': {'kept.star': 'the originals that are kept', 'rejected.star': 'those that are not'},
}


def sentences(verb: str, settings: Settings, found: Json) -> list[str]:
    """Of a finished command; none for a step of another program, and in all processes but the first.

    found: as in summary.json.
    """
    if PARENT in os.environ or not leader():
        return []
    folder = Path(settings.output or '.')
    said = [f'finished: {folder}']
    page = next((folder / name for name in PAGES if (folder / name).is_file()), None)
    if page is not None and verb != 'report':
        said.append(f'to look at: {page}')
    said += [f'{folder / name}: {what}' for name, what in TABLES.get(verb, {}).items() if (folder / name).is_file()]
    next_one = NEXT[verb](settings, found, folder) if verb in NEXT else []
    return [*said, f'next: {shlex.join(["cryoemgan", *next_one])}'] if next_one else said


def _after_project(settings: Settings, found: Json, folder: Path) -> list[str]:
    if found.get('alternatives', {}).get('best', 'given') != 'given':
        # What the warning says comes first.
        return []
    particles, references = getattr(settings, 'particles', ''), str(folder / 'references.star')
    return ['train', '--particles', particles, '--references', references, '--output', 'train']


def _after_train(settings: Settings, found: Json, folder: Path) -> list[str]:
    particles, model = getattr(settings, 'particles', ''), str(folder / 'model')
    return ['denoise', '--particles', particles, '--model', model, '--output', 'denoised']


def _after_denoise(settings: Settings, found: Json, folder: Path) -> list[str]:
    if found.get('uncertainty_median') is None and 'evidence_median' not in found:
        # A single network without scores: nothing to sort by.
        return []
    particles, denoised = getattr(settings, 'particles', ''), str(folder / 'denoised.star')
    return ['select', '--particles', denoised, '--source', particles, '--output', 'selected']


NEXT: dict[str, Callable[[Settings, Json, Path], list[str]]] = {
    'project': _after_project, 'train': _after_train, 'denoise': _after_denoise,
}  # fmt: skip
