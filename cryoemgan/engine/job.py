"""One run of a verb: its folder, its progress, its summary.

A result folder is complete when ``summary.json`` is there: it is written last and atomically.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import resource
import shutil
import threading
import time
from pathlib import Path

from tqdm import tqdm

from .. import __version__
from .errors import InputError

SUMMARY, SETTINGS = 'summary.json', 'settings.json'
DIGEST_LIMIT = 64 * 2**20


@contextlib.contextmanager
def atomic(path):
    """Yield a path beside ``path``; renamed onto it when the block ends well, removed when it does not."""
    path = Path(path)
    partial = path.with_name(path.name + '.partial')
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path, data):
    """Write JSON atomically."""
    with atomic(path) as partial:
        partial.write_text(json.dumps(data, indent=2, default=_plain) + '\n', encoding='utf-8')


def _plain(value):
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, 'tolist'):
        return value.tolist()
    raise TypeError(f'{type(value).__name__} cannot be written as JSON')


def file_digest(path):
    """sha256 of a file, in hexadecimal; read a piece at a time."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while piece := file.read(2**22):
            digest.update(piece)
    return digest.hexdigest()


def file_identity(path):
    """Path with sha256, or size and time of change for large files (hashing a 100 GB stack helps nobody)."""
    path = Path(path)
    stat = path.stat()
    record = {'path': str(path.resolve()), 'size': stat.st_size}
    if path.is_file() and stat.st_size <= DIGEST_LIMIT:
        record['sha256'] = file_digest(path)
    else:
        record['mtime'] = stat.st_mtime
    return record


def leader():
    """Whether this is the only process of the run or, under torchrun, SLURM or Fabric's launcher, its first one."""
    for name in ('RANK', 'SLURM_PROCID'):
        if name in os.environ:
            return os.environ[name] == '0'
    return os.environ.get('LOCAL_RANK', '0') == '0' and os.environ.get('NODE_RANK', '0') == '0'


class Job:
    """What a verb needs while it works: the folder, warnings, recorded inputs and outputs, progress."""

    def __init__(self, verb, settings):
        self.verb, self.settings = verb, settings
        self.folder = Path(settings.output)
        self.warnings, self.inputs, self.outputs = [], [], []
        self._start = time.time(), _cpu_seconds()

    def warn(self, sentence):
        """A sentence for a person: shown now, and kept in the summary."""
        self.warnings.append(sentence)
        self.say(f'warning: {sentence}')

    def say(self, sentence):
        """A line of progress; of several processes only the first speaks."""
        if leader():
            tqdm.write(sentence)

    def input(self, path):
        """Record an input file in the summary; gives the path back."""
        self.inputs.append(file_identity(path))
        return Path(path)

    def output(self, name):
        """Path of an output in the folder, recorded in the summary."""
        if name not in self.outputs:
            self.outputs.append(name)
        return self.folder / name

    def progress(self, total, description, initial=0):
        """A progress bar that behaves in log files (an update every few seconds)."""
        return tqdm(
            total=total, desc=description, initial=initial, mininterval=2, dynamic_ncols=True, disable=not leader()
        )

    @contextlib.contextmanager
    def alone(self):
        """Hold the folder while the verb works; InputError when another run does (a job submitted twice, an orphan).

        The lock belongs to the process and is gone with it, killed or not.
        """
        if not leader() or (self.folder.exists() and not self.folder.is_dir()):
            yield
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise InputError(
                f'--output: another run is writing to {self.folder} now; wait for it, stop it, or give another folder'
            ) from None
        except OSError:
            # A file system without locks, such as some NFS: as before.
            pass
        try:
            yield
        finally:
            os.close(handle)

    def prepare(self):
        """Create the folder, or refuse one that holds something. Only the first process of a run touches it."""
        if not leader():
            return
        s, folder = self.settings, self.folder
        if folder.exists() and not folder.is_dir():
            raise InputError(f'--output: {folder} is a file')
        filled = folder.is_dir() and any(folder.iterdir())
        if filled and not (s.resume or s.overwrite):
            raise InputError(
                f'--output: {folder} is not empty; give another folder, --resume to go on with it, '
                'or --overwrite to replace it'
            )
        if filled:
            self._own_folder()
        if filled and s.overwrite:
            # The folder itself stays: `alone` holds it.
            for path in folder.iterdir():
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / SUMMARY).unlink(missing_ok=True)
        write_json(folder / SETTINGS, {'verb': self.verb, 'version': __version__, 'settings': s.as_dict()})

    def _own_folder(self):
        """InputError unless the folder is an earlier run of this verb: --overwrite must not empty a home folder."""
        try:
            verb = json.loads((self.folder / SETTINGS).read_text(encoding='utf-8')).get('verb')
        except (OSError, ValueError, AttributeError):
            verb = None
        if verb != self.verb:
            raise InputError(
                f'--output: {self.folder} was not written by "{self.verb}" of this program; nothing in it is touched'
            )

    def finish(self, results):
        """Write the summary: the run is complete from here on."""
        if not leader():
            return
        wall, cpu = self._start
        peak = max(resource.getrusage(w).ru_maxrss for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        write_json(
            self.folder / SUMMARY,
            {
                'verb': self.verb,
                'version': __version__,
                'settings': self.settings.as_dict(),
                **results,
                'wall_seconds': round(time.time() - wall, 3),
                'cpu_seconds': round(_cpu_seconds() - cpu, 3),
                'peak_memory_bytes': peak * 1024,
                'inputs': self.inputs,
                'outputs': self.outputs,
                'warnings': self.warnings,
            },
        )


def _cpu_seconds():
    return sum(
        resource.getrusage(w).ru_utime + resource.getrusage(w).ru_stime
        for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )


def watch_parent():
    """End this process when the protocol that started it is gone.

    Scipion's Stop is SIGKILL from outside, and a killed protocol leaves its program running as an orphan. The
    protocol names its own process in CRYOEMGAN_PARENT (not set on a queue, where it runs on another host).
    """
    pid = os.environ.get('CRYOEMGAN_PARENT', '')
    if not pid.isdigit():
        return

    def watch():
        while True:
            try:
                os.kill(int(pid), 0)
            except ProcessLookupError:
                os._exit(143)
            time.sleep(2)

    threading.Thread(target=watch, daemon=True).start()
