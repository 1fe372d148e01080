"""The folder of a run: whose it is, whether its run had finished, and how a new result takes its place.

A folder is known by ``settings.json`` (which command, with which settings and inputs, and what it has written) and is
complete when ``summary.json`` is there. A run that replaces an earlier result works in a folder inside and takes the
earlier one's place in the end: until then the earlier result stays whole.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from .. import __version__
from .errors import InputError
from .files import changed, flush_to_disk, read_record, require_regular, rewritten, write_state
from .finished import JOURNAL, PARTIAL, SETTINGS, SUMMARY, damage
from .settings.base import Settings, flag
from .shapes import AnyPath, Json

# Folder, inside the result that it will replace, of a run that has not finished.
UNFINISHED = '.unfinished'


def leader() -> bool:
    """Whether this is the only process of the run or, under torchrun, SLURM or Fabric's launcher, its first one."""
    for name in ('RANK', 'SLURM_PROCID'):
        if name in os.environ:
            return os.environ[name] == '0'
    return os.environ.get('LOCAL_RANK', '0') == '0' and os.environ.get('NODE_RANK', '0') == '0'


def live_folder(folder: AnyPath) -> Path:
    """Where the files of the latest run of a result folder lie while it works: the folder, or the one inside it."""
    inside = Path(folder) / UNFINISHED
    return inside if inside.is_dir() else Path(folder)


class RunFolder:
    """The folder of one run of a command.

    Attributes
    ----------
    result : where the files will be in the end (--output).
    inputs, outputs : records of `files.file_identity`, and names in the folder.
    """

    def __init__(self, command: str, settings: Settings) -> None:
        self.command, self.settings = command, settings
        self.result = Path(settings.output or '.')
        self._current = live_folder(self.result) if settings.resume else self.result
        self.inputs: list[Json] = []
        # Files that are read, beside those of `inputs`.
        self.read_files: set[Path] = set()
        # What was read before the work began; a command may read more on its way.
        self._at_start: list[Json] = []
        self.outputs: list[str] = []

    @property
    def current(self) -> Path:
        """Where the files lie now. Only the first process decides it; the others look."""
        replaces = self.settings.overwrite and not leader()
        return live_folder(self.result) if replaces else self._current

    def add_output(self, name: str) -> Path:
        """Path of an output, which belongs to the result from now on."""
        if name not in self.outputs:
            self.outputs.append(name)
            if leader() and (self.current / SETTINGS).is_file():
                self._write_settings()
        return self.current / name

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the folder while the command works; InputError when another run does (submitted twice, an orphan).

        The lock belongs to the process and is gone with it, killed or not.
        """
        if not leader() or (self.result.exists() and not self.result.is_dir()):
            yield
            return
        self.result.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.result, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise InputError(
                f'--output: another run is writing to {self.result} now; wait for it, stop it, or give another folder'
            ) from None
        except OSError:
            # A file system without locks, such as some NFS: as before.
            pass
        try:
            yield
        finally:
            os.close(handle)

    def check_free(self) -> bool:
        """Whether something is in the folder already; InputError when that was not expected. Cheap: asked before any
        input is read."""
        result = self.result
        if result.exists() and not result.is_dir():
            raise InputError(f'--output: {result} is a file')
        occupied = result.is_dir() and any(result.iterdir())
        if occupied and not (self.settings.resume or self.settings.overwrite):
            raise InputError(
                f'--output: {result} is not empty; give another folder, --resume to go on with it, '
                'or --overwrite to replace it'
            )
        return occupied

    def prepare(self, warn: Callable[[str], None]) -> Json | None:
        """Make the folder ready, or refuse it. Only the first process of a run touches it.

        Returns
        -------
        The summary of a run that had finished already (--resume has nothing to do), else None.
        """
        if not leader():
            return self._finished(read_record(self.current / SETTINGS), warn) if self.settings.resume else None
        held = self._check_folder()
        if held is not None and self.settings.resume:
            self._check_same(held, warn)
            summary = self._finished(held, warn)
            if summary is not None:
                self.take_place()
                return summary
            self.outputs = [name for name in held.get('outputs', []) if isinstance(name, str)]
        if held is not None and self.settings.overwrite:
            self._current = self.result / UNFINISHED
            shutil.rmtree(self.current, ignore_errors=True)
        self.current.mkdir(parents=True, exist_ok=True)
        # Other processes read the settings first: with the new ones they find no summary of the old.
        (self.current / SUMMARY).unlink(missing_ok=True)
        self._at_start = list(self.inputs)
        self._write_settings()
        return None

    def _finished(self, held: Json | None, warn: Callable[[str], None]) -> Json | None:
        """Summary of a run with nothing left to do; held: its settings.json. A result of which a file is not what the
        run wrote is made again."""
        summary = read_record(self.current / SUMMARY)
        if summary is None or held is None or self._goes_on(held):
            return None
        lost = damage((self.current, self.result), summary)
        if lost:
            warn(f'{self.result} had been finished, and is not what was written ({lost}): it is made again')
        return None if lost else summary

    def _check_folder(self) -> Json | None:
        """What the folder says of the run that wrote it, None for an empty one; InputError for others' folders."""
        s, result = self.settings, self.result
        if not self.check_free():
            return None
        for path in result.rglob('*'):
            # State is looked for by its name: a pipe of that name would hang whoever opens it.
            require_regular(path)
        held = read_record(self.current / SETTINGS)
        if held is None or held.get('verb') != self.command:
            raise InputError(
                f'--output: {self.current} was not written by "{self.command}" of this program, or its {SETTINGS} is '
                'damaged; nothing in it is touched'
            )
        if s.overwrite:
            self._check_inputs_survive(held)
        return held

    def _check_inputs_survive(self, held: Json) -> None:
        """InputError when --overwrite would replace what this run reads."""
        replaced = [(self.result / name).resolve() for name in self._listed(held)]
        for path in sorted({Path(record['path']) for record in self.inputs} | self.read_files):
            if any(path == r or r in path.parents for r in replaced):
                raise InputError(
                    f'--overwrite: {path} is read by this run and belongs to the result that it would replace; '
                    'give another --output'
                )

    def _check_same(self, held: Json, warn: Callable[[str], None]) -> None:
        """InputError naming the first setting or input in which this run differs from the interrupted one."""
        now, before = comparable(self.settings), held.get('settings')
        if isinstance(before, dict):
            if 'threads' in now and before.get('threads') == 0:
                # Of a version that did not record how many there were.
                warn(
                    f'the interrupted run left --threads open and did not say how many it used; it goes on with '
                    f'{now["threads"]}, and the last digits may differ from those of an unbroken run'
                )
                before = {**before, 'threads': now['threads']}
            for name in sorted(now):
                if name in before and before[name] != now[name]:
                    raise InputError(
                        f'--resume: {flag(name)} was {before[name]!r} in the interrupted run and is {now[name]!r} now; '
                        'give the same again, or start anew with --overwrite'
                    )
            for name in sorted(self.settings.only_longer()):
                was, shall = before.get(name), getattr(self.settings, name)
                if was and shall and shall < was:
                    raise InputError(
                        f'--resume: {flag(name)} was {was} in the interrupted run and is {shall} now: a run can become '
                        'longer, not shorter'
                    )
        known = held.get('inputs') or []
        if known and len(known) != len(self.inputs):
            raise InputError(
                f'--resume: the interrupted run read {len(known)} files, this one reads {len(self.inputs)}; give the '
                'same again, or start anew with --overwrite'
            )
        for old, new in zip(known, self.inputs):
            why = changed(old, new)
            if why:
                raise InputError(
                    f'--resume: {new["path"]} has changed since the interrupted run ({why}); start anew with '
                    '--overwrite'
                )
            if rewritten(old, new):
                warn(
                    f'{new["path"]} was written again since the interrupted run; samples of its content are the same. '
                    'If its content has changed, start anew with --overwrite'
                )

    def _goes_on(self, held: Json) -> bool:
        """Whether a finished run was asked to do more of the same, such as a longer training."""
        before, now = held.get('settings') or {}, self.settings.as_dict()
        return any(before.get(name) != now[name] for name in self.settings.of_length())

    def _write_settings(self) -> None:
        """What this run is, beside its results: how a later one knows it."""
        write_state(
            self.current / SETTINGS,
            {
                'verb': self.command,
                'version': __version__,
                'settings': self.settings.as_dict(),
                'inputs': self._at_start,
                'outputs': self.outputs,
            },
        )

    def take_place(self) -> None:
        """A finished run that replaces an earlier one becomes the result; may be done again after a kill half-way.

        Only files of the earlier result go; others that lie in the folder stay.
        """
        if self.current == self.result:
            return
        held = read_record(self.result / SETTINGS) or {}
        old = self._listed(held)
        (self.result / SUMMARY).unlink(missing_ok=True)
        flush_to_disk(self.result)
        for name in old:
            for end in ('', JOURNAL, PARTIAL):
                _remove(self.result / (name + end))
        last = (SETTINGS, SUMMARY)
        for path in [
            *(p for p in sorted(self.current.iterdir()) if p.name not in last),
            *(self.current / n for n in last),
        ]:
            target = self.result / path.name
            if target.is_dir() and not target.is_symlink():
                shutil.rmtree(target)
            os.replace(path, target)
        self.current.rmdir()
        self._current = self.result
        flush_to_disk(self.result)

    def _listed(self, held: Json) -> list[str]:
        """Names of the files of an earlier result; only such that lie inside the folder."""
        summary = read_record(self.result / SUMMARY) or {}
        names = [*(held.get('outputs') or []), *(summary.get('outputs') or [])]
        inside = [n for n in names if isinstance(n, str) and Path(n).parts and not {'/', '..'} & set(Path(n).parts)]
        return sorted(set(inside))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def comparable(settings: Settings) -> Json:
    """Settings in which a resumed run must not differ; inputs are compared by their content, not by their path."""
    free = settings.of_machine() | settings.of_length()
    return {k: v for k, v in settings.as_dict().items() if k not in free and not settings.is_path(k)}
