"""One step of the road: a command of this program, run as a program of its own, which stops and resumes by itself."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import threading
from dataclasses import dataclass, fields
from pathlib import Path

from ...errors import InputError, Interrupted, WorkError
from ...files import read_record
from ...finished import SETTINGS, SUMMARY, is_whole
from ...job import Job
from ...run_folder import comparable, live_folder
from ...settings import COMMANDS
from ...settings.base import Settings, flag
from ...settings.report import Report
from ...settings.road import TITLES
from ...shapes import Json
from ...signals import PARENT

# A finished step whose files are not what it wrote.
MEND = 'damaged'
# Of what a step said last, for the message when it fails.
TAIL = 8192


@dataclass(frozen=True)
class Step:
    """A command with its options {setting: value}, and the folder inside --output that it writes to."""

    folder: str
    command: str
    options: Json

    @property
    def title(self) -> str:
        """What it gives, for a person."""
        return TITLES[self.folder]

    def arguments(self, root: Path) -> list[str]:
        """Words of the command line, from the command on."""
        words = [self.command]
        for name, value in self.options.items():
            if isinstance(value, bool):
                words.append(flag(name) if value else flag(name).replace('--', '--no-', 1))
            else:
                for item in value if isinstance(value, list) else [value]:
                    words += [flag(name), f'{item:g}' if isinstance(item, float) else str(item)]
        return [*words, '--output', str(root / self.folder)]

    def shell(self, root: Path) -> str:
        """The command as a person types it."""
        return shlex.join(['cryoemgan', *self.arguments(root)])


class Runner:
    """Runs steps one after the other.

    A step whose result is there already is not run again, unless one before it was: then its inputs are new. One that
    was interrupted goes on. ``records``: what was done, for the page.
    """

    def __init__(self, settings: Report, job: Job) -> None:
        self._settings, self._job, self._root = settings, job, job.result
        self._changed = settings.overwrite
        self.records: list[Json] = []

    def run(self, step: Step) -> Json:
        """The summary of the finished step. InputError or WorkError in the step's own words when it fails."""
        folder = self._root / step.folder
        how = self._how(step, folder)
        if how != 'finished':
            self._job.say(f'\n== {step.folder}: {step.title}')
            # What was damaged is made again as it was: what follows from it stays.
            self._changed |= how != MEND
            self._start(step, ['--resume'] if how == MEND else [how] if how else [])
        summary = read_record(folder / SUMMARY)
        if summary is None:
            raise WorkError(f'{folder}: the step ended without a result')
        self.records.append({
            'folder': step.folder, 'title': step.title, 'command': step.shell(self._root),
            'seconds': summary['wall_seconds'], 'warnings': summary['warnings'],
        })  # fmt: skip
        return summary

    def _how(self, step: Step, folder: Path) -> str:
        """'finished', 'damaged', or the flag with which the step is to run: '', --resume or --overwrite."""
        live = live_folder(folder)
        held = read_record(live / SETTINGS)
        if held is None:
            return ''
        settings = self._settings_of(step)
        before, now = held.get('settings') or {}, comparable(settings)
        same = all(before.get(name) == value for name, value in now.items())
        if self._changed or not same:
            return '--overwrite'
        lengths = all(before.get(name) == getattr(settings, name) for name in settings.of_length())
        if not (lengths and live == folder and (folder / SUMMARY).exists()):
            return '--resume'
        return 'finished' if is_whole(folder) else MEND

    def _settings_of(self, step: Step) -> Settings:
        return COMMANDS[step.command](
            **{**step.options, 'output': str(self._root / step.folder)}, **self._machine()
        ).filled()

    def _machine(self) -> Json:
        """What every step shares with the whole run."""
        return {f.name: getattr(self._settings, f.name) for f in fields(Settings)
                if f.name in ('threads', 'device', 'seed')}  # fmt: skip

    def _start(self, step: Step, flags: list[str]) -> None:
        machine = [word for name, value in self._machine().items() for word in (flag(name), str(value))]
        command = [sys.executable, '-m', 'cryoemgan.engine', *step.arguments(self._root), *machine, *flags]
        # Its own session: Ctrl-C in a terminal reaches only this process, which hands on one signal, once.
        child = subprocess.Popen(
            command, stderr=subprocess.PIPE, start_new_session=True, env=_environment(), bufsize=0
        )  # fmt: skip
        said = _Echo(child)
        try:
            status = child.wait()
        except Interrupted:
            child.terminate()
            child.wait()
            raise
        finally:
            if child.poll() is None:
                child.kill()
            said.join()
        if status:
            raise (InputError if status == 2 else WorkError)(
                f'step {step.folder}: {said.message() or f"it ended with status {status}"}'
            )


def _environment() -> dict[str, str]:
    """Of a step: it ends when this process is gone, and finds this very package."""
    here = str(Path(__file__).resolve().parents[4])
    paths = [here, *filter(None, os.environ.get('PYTHONPATH', '').split(os.pathsep))]
    return {**os.environ, PARENT: str(os.getpid()), 'PYTHONPATH': os.pathsep.join(paths)}


class _Echo(threading.Thread):
    """Hands on what a child says on stderr, and remembers the end of it."""

    def __init__(self, child: subprocess.Popen[bytes]) -> None:
        super().__init__(daemon=True)
        self._stream, self._tail = child.stderr, b''
        self.start()

    def run(self) -> None:
        """Until the child closes its stderr."""
        while piece := self._stream.read(4096):  # type: ignore[union-attr]
            sys.stderr.write(piece.decode('utf-8', 'replace'))
            sys.stderr.flush()
            self._tail = (self._tail + piece)[-TAIL:]

    def message(self) -> str:
        """The child's own last sentence, or ''."""
        lines = self._tail.decode('utf-8', 'replace').replace('\r', '\n').splitlines()
        said = [line.split('cryoemgan: ', 1)[1].strip() for line in lines if line.startswith('cryoemgan: ')]
        return said[-1] if said else ''
