"""What survives a killed training run: its checkpoint, its table of metrics, its best generators.

Every file is replaced in one step. A checkpoint holds tensors and plain values only and is loaded as such
(``weights_only``): reading one executes nothing.
"""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import os
import pickle
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ..errors import InputError
from ..files import atomic, file_identity, flush_to_disk, seal, sealed
from ..settings.train import Train
from ..shapes import Json, Rows
from .interfaces import TrainingPairs

# The newest checkpoint, and the one before it: should the newest be damaged, the run goes back to that.
LAST, PREVIOUS = 'last.pt', 'previous.pt'
FORMAT = 1
COLUMNS = (
    'member',
    'iteration',
    'epoch',
    'seconds',
    'reconstruction',
    'adversary',
    'score_real',
    'score_fake',
    'penalty',
    'gradient_generator',
    'gradient_discriminator',
    'd_real',
    'd_fake',
    'mse',
    'psnr',
    'ssim',
    'noise_level',
    'learning_rate_generator',
    'learning_rate_discriminator',
)


def save(folder: Path, state: Mapping[str, Any]) -> None:
    """Write the checkpoint of a run; the one before it stays beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / LAST, {'format': FORMAT, **state}, folder / PREVIOUS)


def _write(path: Path, state: Mapping[str, Any], previous: Path | None = None) -> None:
    with atomic(path) as partial:
        try:
            torch.save(state, partial)
        except RuntimeError as e:
            # torch tells a full disk as an "unexpected pos".
            raise OSError(errno.EIO, 'cannot be written; is the disk full?', str(path)) from e
        seal(partial)
        if previous is not None and path.exists():
            flush_to_disk(partial)
            os.replace(path, previous)


def load(folder: Path, say: Callable[[str], object] = lambda sentence: None) -> Json | None:
    """The newest whole checkpoint in a folder, or None when there is none yet; ``say`` is told of a damaged one.

    InputError when all are damaged, or of another version.
    """
    damaged = []
    for path in (folder / LAST, folder / PREVIOUS):
        if not path.exists():
            continue
        try:
            state = _read(path)
        except Damaged as e:
            damaged.append(f'{path} is not a readable checkpoint ({e})')
            continue
        if damaged:
            say(f'{damaged[0]}: going on from the one before it, iteration {state.get("iteration")}')
        return state
    if damaged:
        raise InputError(f'--resume: {"; ".join(damaged)}; start again with --overwrite')
    return None


class Damaged(Exception):
    """A checkpoint is not what was written; the message says what is wrong with it."""


def _read(path: Path) -> Json:
    """The state in a file. Damaged when it cannot be trusted, InputError when another version wrote it."""
    whole = sealed(path)
    try:
        # One of an earlier version has no seal; the checksums of its parts are in it.
        if not (_parts_are_whole(path) if whole is None else whole):
            raise Damaged('its content is not what was written')
        state = torch.load(path, map_location='cpu', weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as e:
        raise Damaged((str(e).splitlines() or [type(e).__name__])[0]) from e
    if not isinstance(state, dict) or state.get('format') != FORMAT:
        raise InputError(f'--resume: {path} was written by another version of this program')
    return state


def _parts_are_whole(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as file:
            return file.testzip() is None
    except (zipfile.BadZipFile, OSError, NotImplementedError, EOFError):
        return False


def identity(settings: Train, pairs: TrainingPairs, training: Rows) -> Json:
    """What must be equal in a resumed run: settings, data, grey scale. Files are told by content, not by path."""
    free = settings.of_machine() | settings.of_length()
    kept = {k: v for k, v in settings.as_dict().items() if k not in free and not settings.is_path(k)}
    kept['volume'] = [_content(v) for v in settings.volume]
    kept['noise_particles'] = settings.noise_particles and _content(settings.noise_particles)
    names, scale = '\n'.join(pairs.names(training)), repr(sorted(pairs.scale.as_dict().items()))
    digests = {'training_particles': names, 'grey_values': scale}
    return {**kept, **{k: hashlib.sha256(v.encode()).hexdigest() for k, v in digests.items()}}


def _content(path: str) -> str:
    """Digest of a file, of samples of a large one."""
    about = file_identity(path)
    return str(about.get('sha256') or about.get('sampled_sha256', 'missing'))


def check_same(saved: Json, now: Json) -> None:
    """InputError naming the first setting or data digest in which a resumed run differs from the interrupted one."""
    for key in sorted(saved.keys() | now.keys()):
        if saved.get(key) != now.get(key):
            raise InputError(
                f'--resume: {key.replace("_", "-")} was {saved.get(key)!r} in the interrupted run and is '
                f'{now.get(key)!r} now; a resumed run may only become longer. To train on from a model '
                'with other settings or data, start a new run with --init'
            )


class MetricsLog:
    """metrics.csv: a row an evaluation of one fold model (column ``member``), on disk when `append` returns."""

    def __init__(self, path: Path, iteration: int = -1, member: str = 'main', others: Iterable[str] = ()) -> None:
        """Start the table, or keep what an interrupted run wrote: the rows of this fold model (``member``) up to
        ``iteration`` and those of ``others``, which the run has started already."""
        self.path, self.member = path, member
        rows = [
            r
            for r in (_rows(path) if iteration >= 0 or others else [])
            if r['member'] in others or (r['member'] == member and int(r['iteration']) <= iteration)
        ]
        # Those of this fold model, for its checkpoints.
        self.rows = [r for r in rows if r['member'] == member]
        write_metrics(path, rows)

    def append(self, row: Json) -> None:
        """Add a row (column -> value; what is missing stays empty, numbers with 7 digits)."""
        row = {'member': self.member, **row}
        text = {k: f'{v:.7g}' if isinstance(v, float) else str(v) for k, v in row.items()}
        self.rows.append(text)
        with self.path.open('a', encoding='utf-8', newline='') as f:
            f.write(_lines([text]))
            f.flush()
            os.fsync(f.fileno())


def write_metrics(path: Path, rows: Iterable[Mapping[str, str]]) -> None:
    """Write metrics.csv, or write it anew from what the checkpoints hold of it."""
    with atomic(path) as partial:
        partial.write_text(_lines([dict(zip(COLUMNS, COLUMNS)), *rows]), encoding='utf-8')


def _rows(path: Path) -> Sequence[dict[str, str]]:
    """Rows of metrics.csv without those that a kill, or something else, has damaged."""
    if not path.exists():
        return []
    with path.open(newline='', encoding='utf-8', errors='replace') as f:
        found = [r for r in csv.reader(f) if len(r) == len(COLUMNS) and r[1].isdecimal() and r[-1]]
    return [dict(zip(COLUMNS, r)) for r in found]


def _lines(rows: Iterable[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    csv.DictWriter(text, COLUMNS, restval='', lineterminator='\n').writerows(rows)
    return text.getvalue()


class Best:
    """The k best generators by validation error: their scores, and their weights in the folder."""

    def __init__(self, folder: Path, keep: int, scores: Iterable[Json] = (), writes: bool = True) -> None:
        """scores: those of an interrupted run; other weight files in the folder are later than it, and removed with
        the next that is offered. writes: off in all processes but one."""
        self.folder, self.keep, self.scores, self.writes = folder, keep, list(scores), writes

    def weights(self) -> Json:
        """Those of the best generator; Damaged when their file cannot be trusted."""
        path = self._path(self.scores[0])
        if not path.exists():
            raise Damaged(f'{path} is missing')
        if not sealed(path):
            raise Damaged(f'{path} is damaged')
        found: Json = torch.load(path, map_location='cpu', weights_only=True)
        return found

    def add(self, score: Json, weights: Mapping[str, Any]) -> bool:
        """Offer weights with their score {iteration, mse, psnr, ssim}; True when they are the best so far."""
        ranked = sorted([*self.scores, score], key=lambda s: s['mse'])[: self.keep]
        if score in ranked and self.writes:
            self.folder.mkdir(parents=True, exist_ok=True)
            _write(self._path(score), weights)
        self.scores = ranked
        self._tidy()
        return ranked[0] == score

    def _path(self, score: Json) -> Path:
        return self.folder / f'iteration_{score["iteration"]:08d}.pt'

    def _tidy(self) -> None:
        if not self.writes:
            return
        kept = {self._path(s) for s in self.scores}
        for path in self.folder.glob('iteration_*.pt'):
            if path not in kept:
                path.unlink()
