"""The command line: ``cryoemgan VERB --option value`` (= ``python -m cryoemgan.engine VERB``)."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import os
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, TextIO

from .. import __version__
from .errors import InputError, Interrupted, WorkError
from .run_folder import leader
from .settings import COMMANDS
from .settings.arguments import add_options
from .settings.base import Settings
from .settings.files import read_settings_file
from .shapes import Json

if TYPE_CHECKING:
    from .job import Job


def build_parser() -> argparse.ArgumentParser:
    """One sub-command a verb, its options from the settings classes."""
    parser = argparse.ArgumentParser(
        prog='cryoemgan',
        description='Denoise single particles with a network trained on projections of the refined map.',
    )
    parser.add_argument('--version', action='version', version=__version__)
    verbs = parser.add_subparsers(dest='verb', required=True, metavar='COMMAND')
    for name, cls in COMMANDS.items():
        verb = verbs.add_parser(name, help=cls.__doc__, description=cls.__doc__, allow_abbrev=False)
        verb.add_argument(
            '--settings',
            dest='settings_file',
            metavar='FILE',
            help='JSON file with any of the options below; the command line wins.',
        )
        verb.add_argument(
            '--debug', action='store_true', default=argparse.SUPPRESS, help='Show the whole traceback of an error.'
        )
        add_options(verb, cls)
    return parser


def parse(argv: Sequence[str] | None = None) -> tuple[str, Settings]:
    """(verb, validated settings) of a command line; the settings file fills what the command line leaves out."""
    given = vars(build_parser().parse_args(argv))
    verb, path = given.pop('verb'), given.pop('settings_file')
    cls = COMMANDS[verb]
    settings = cls(**{**(read_settings_file(cls, path) if path else {}), **given})
    settings.validate()
    return verb, settings


def use_threads(n: int) -> int:
    """Limit every numerical library to n threads (0 = the cores we may use); returns n. Before torch is imported."""
    n = n or len(os.sched_getaffinity(0))
    for name in ('OMP_NUM_THREADS', 'MKL_NUM_THREADS', 'OPENBLAS_NUM_THREADS'):
        os.environ[name] = str(n)
    # Spinning threads on a shared machine cost tenfold.
    os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
    return n


def run(verb: str, settings: Settings) -> Json:
    """Run a command on validated settings in its folder; returns what it found (also in summary.json)."""
    from .signals import Stop, watch_parent

    watch_parent()
    with Stop().listening():
        # Libraries take seconds to load.
        return _run(verb, settings)


def _run(verb: str, settings: Settings) -> Json:
    from .job import Job

    settings = settings.filled()
    job = Job(verb, settings)
    module = importlib.import_module(f'.commands.{verb}', __package__)
    with job.stop.listening():
        # Before the input, which may take minutes to read.
        job.check_free()
        # Every check of input comes before the folder is touched.
        inputs = module.load_inputs(settings, job)
        with job.alone():
            return _work(module, job, inputs)


def _work(module: ModuleType, job: Job, inputs: object) -> Json:
    """The command's own work, in a folder that nobody else writes to."""
    finished = job.prepare()
    if finished is not None:
        return finished
    results = module.run(job.settings, job, inputs)
    job.finish(results)
    return results


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status: 0 done, 1 failed while working, 2 wrong usage or input."""
    open_standard_streams()
    with contextlib.redirect_stdout(Unbroken(sys.stdout)), contextlib.redirect_stderr(Unbroken(sys.stderr)):
        return _main(argv)


def open_standard_streams() -> None:
    """Whoever starts a program may have closed its streams: a file of results would become the next of them."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # The lowest number that is free.
            os.open(os.devnull, os.O_RDWR)
    for name in ('stdout', 'stderr'):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, 'w', encoding='utf-8'))  # noqa: SIM115


def _main(argv: Sequence[str] | None) -> int:
    argv = list(sys.argv[1:] if argv is None else argv)
    debug = '--debug' in argv
    try:
        verb, settings = parse([a for a in argv if a != '--debug'])
        # The number itself is recorded: another machine may have other cores.
        settings.threads = use_threads(settings.threads)
        found = run(verb, settings)
        _say_last(verb, settings, found)
    except (Exception, KeyboardInterrupt) as e:
        # The last stop of every error: told in one sentence.
        if debug:
            raise
        sentence, status = explained(e)
        if not (ended_elsewhere(e) and not leader()):
            print(f'cryoemgan: {sentence}', file=sys.stderr)
        return status
    return 0


def _say_last(verb: str, settings: Settings, found: Json) -> None:
    # A library of its own: it must not delay --help.
    from .closing import sentences

    for sentence in sentences(verb, settings, found):
        print(sentence)


def explained(error: BaseException) -> tuple[str, int]:
    """(sentence for a person, exit status) of an error."""
    if isinstance(error, InputError):
        return str(error), 2
    if isinstance(error, Interrupted | KeyboardInterrupt):
        # Ctrl-C before the run listens to it is Python's own.
        why = str(error) or 'stopped by SIGINT'
        return f'{why}. Nothing half done counts as a result; the same command with --resume goes on', 1
    if isinstance(error, WorkError):
        return str(error), 1
    if ended_elsewhere(error):
        return (
            'another process of this run has ended (killed, or out of memory; what it said last stands above): nothing '
            'half done counts as a result; the same command with --resume goes on, with any number of processes'
        ), 1
    if isinstance(error, MemoryError) or 'out of memory' in str(error) or "can't allocate memory" in str(error):
        return f'out of memory ({_first_line(error)}): take a smaller --batch-size or --box, or another machine', 1
    if isinstance(error, OSError):
        # A write that fails (a full disk) does not know its file.
        name = f'{os.fsdecode(error.filename)}: ' if error.filename else ''
        if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError | NotADirectoryError):
            # What was given is not there, or not ours to use.
            return f'{name}{error.strerror}', 2
        return (
            f'{name}{error.strerror or _first_line(error)}. Nothing complete was written; an earlier result is '
            'unchanged'
        ), 1
    if type(error).__name__ == 'LinAlgError':
        return (
            f'a system of equations has no solution ({_first_line(error)}): images without variation, or too few of '
            'them for what is asked. Nothing complete was written'
        ), 1
    return (
        f'an error inside the program: {type(error).__name__}: {_first_line(error)}. Nothing complete was written. The '
        'same command with --debug shows where; please report it'
    ), 1


def ended_elsewhere(error: BaseException) -> bool:
    """Whether a process of a run ends since another one has: the first process tells of it, for all."""
    if 'torch' not in sys.modules or not isinstance(error, RuntimeError):
        return False
    lost: bool = importlib.import_module('.processes', __package__).is_lost(error)
    return lost


class Unbroken(io.TextIOBase):
    """A text stream that nobody has to read to its end (``| head``), and that shows every name of a file."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, also bytes that are no text in this locale; nothing when the reader has gone."""
        encoding = getattr(self._stream, 'encoding', None) or 'utf-8'
        with contextlib.suppress(BrokenPipeError):
            return self._stream.write(text.encode(encoding, 'backslashreplace').decode(encoding))
        return len(text)

    def flush(self) -> None:
        """As of any stream."""
        with contextlib.suppress(BrokenPipeError):
            self._stream.flush()

    def isatty(self) -> bool:
        """As of any stream."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """As of any stream."""
        return self._stream.fileno()


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or ['no more is known'])[0]


if __name__ == '__main__':
    sys.exit(main())
