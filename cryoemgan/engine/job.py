"""One run of a command: its folder, its progress, its summary.

A result folder is complete when ``summary.json`` is there: it is written last. A run that replaces an earlier result
(--overwrite) works in a folder inside, and takes the earlier one's place when it has finished: until then the earlier
result stays whole.
"""

from __future__ import annotations

import contextlib
import resource
import time
from collections.abc import Iterable
from pathlib import Path

from tqdm import tqdm

from .. import __version__
from .files import file_identity, require_regular, write_state
from .finished import FILES, JOURNAL, SUMMARY, describe, require_as_written
from .run_folder import RunFolder, leader
from .settings.base import Settings
from .shapes import AnyPath, Json
from .signals import Stop


class Job:
    """What a command needs while it works: the folder, warnings, recorded inputs and outputs, progress.

    Attributes
    ----------
    folder : where the run writes; ``result`` is where its files will be in the end (and --output says).
    stop : Stop, which tells when the run has been asked to end.
    """

    def __init__(self, command: str, settings: Settings) -> None:
        self.command, self.settings = command, settings
        self.warnings: list[str] = []
        # Names of the particles that the run leaves out because their images cannot be used.
        self.left_out: list[str] = []
        self._place = RunFolder(command, settings)
        self.stop = Stop()
        self._start = time.time(), _cpu_seconds()

    # What a person sees

    def warn(self, sentence: str) -> None:
        """A sentence for a person: shown now, and kept in the summary."""
        self.warnings.append(sentence)
        self.say(f'warning: {sentence}')

    def say(self, sentence: str) -> None:
        """A line of progress; of several processes only the first speaks."""
        if leader():
            tqdm.write(sentence)

    def progress(self, total: int, description: str, initial: int = 0) -> tqdm:
        """A progress bar that behaves in log files (an update every few seconds)."""
        return tqdm(
            total=total, desc=description, initial=initial, mininterval=2, dynamic_ncols=True, disable=not leader()
        )

    # Files

    def input(self, path: AnyPath, whole: bool = False) -> Path:
        """Record an input file in the summary and in what --resume compares; gives the path back. whole: every byte of
        it counts, however large it is. InputError for a file of a run that has not finished, or not as it wrote it."""
        identity = file_identity(require_regular(path), whole)
        require_as_written(path, identity)
        self.inputs.append(identity)
        return Path(path)

    def record(self, identity: Json, files: Iterable[AnyPath]) -> None:
        """Record input that is known by something else than one file, and the files that it lies in."""
        self.inputs.append(identity)
        self._place.read_files.update(Path(f).resolve() for f in files)

    def leave_out(self, names: Iterable[str]) -> None:
        """Particles that the run does without; the summary names them."""
        self.left_out += names

    def output(self, name: str) -> Path:
        """Path of an output in the folder, recorded in the summary."""
        return self._place.add_output(name)

    @property
    def inputs(self) -> list[Json]:
        """Records of the input files."""
        return self._place.inputs

    @property
    def outputs(self) -> list[str]:
        """Names of the outputs."""
        return self._place.outputs

    # The folder

    @property
    def folder(self) -> Path:
        """Where the run writes now; ``result`` is where its files will be in the end (and --output says)."""
        return self._place.current

    @property
    def result(self) -> Path:
        """Where the files of the run will be in the end."""
        return self._place.result

    def check_free(self) -> None:
        """InputError when the folder holds something that nobody said may be there: see `RunFolder.check_free`."""
        if leader():
            self._place.check_free()

    def alone(self) -> contextlib.AbstractContextManager[None]:
        """Hold the folder while the command works: see `RunFolder.alone`."""
        return self._place.alone()

    def prepare(self) -> Json | None:
        """Make the folder ready; the summary of a run that had finished already, else None."""
        summary = self._place.prepare(self.warn)
        if summary is not None:
            self.say(f'{self.result} holds the finished result of this run: nothing is left to do')
        return summary

    def finish(self, results: Json) -> None:
        """Write the summary: the run is complete from here on."""
        if not leader():
            return
        wall, cpu = self._start
        peak = max(resource.getrusage(w).ru_maxrss for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        write_state(
            self.folder / SUMMARY,
            {
                'verb': self.command,
                'version': __version__,
                'settings': self.settings.as_dict(),
                **results,
                'wall_seconds': round(time.time() - wall, 3),
                'cpu_seconds': round(_cpu_seconds() - cpu, 3),
                'peak_memory_bytes': peak * 1024,
                'inputs': self.inputs,
                'outputs': sorted(self.outputs),
                FILES: describe(self.folder, self.outputs),
                'warnings': self.warnings,
                **({'left_out': self.left_out} if self.left_out else {}),
            },
        )
        for path in self.folder.glob(f'*{JOURNAL}'):
            path.unlink()
        self._place.take_place()


def _cpu_seconds() -> float:
    return sum(
        resource.getrusage(w).ru_utime + resource.getrusage(w).ru_stime
        for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
