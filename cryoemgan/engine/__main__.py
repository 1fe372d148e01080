"""The command line: ``cryoemgan VERB --option value`` (= ``python -m cryoemgan.engine VERB``)."""

import argparse
import importlib
import os
import sys

from .. import __version__
from .errors import InputError, WorkError
from .settings import COMMANDS
from .settings.arguments import add_options
from .settings.files import read_settings_file


def build_parser():
    """One sub-command a verb, its options from the settings classes."""
    parser = argparse.ArgumentParser(
        prog='cryoemgan',
        description='Denoise single particles with a network trained on projections of the refined map.',
    )
    parser.add_argument('--version', action='version', version=__version__)
    verbs = parser.add_subparsers(dest='verb', required=True, metavar='VERB')
    for name, cls in COMMANDS.items():
        verb = verbs.add_parser(name, help=cls.__doc__, description=cls.__doc__, allow_abbrev=False)
        verb.add_argument(
            '--settings',
            dest='settings_file',
            metavar='FILE',
            help='JSON file with any of the options below; the command line wins.',
        )
        add_options(verb, cls)
    return parser


def parse(argv=None):
    """(verb, validated settings) of a command line; the settings file fills what the command line leaves out."""
    given = vars(build_parser().parse_args(argv))
    verb, path = given.pop('verb'), given.pop('settings_file')
    cls = COMMANDS[verb]
    settings = cls(**{**(read_settings_file(cls, path) if path else {}), **given})
    settings.validate()
    return verb, settings


def use_threads(n):
    """Limit every numerical library to n threads (0 = the cores we may use); returns n. Before torch is imported."""
    n = n or len(os.sched_getaffinity(0))
    for name in ('OMP_NUM_THREADS', 'MKL_NUM_THREADS', 'OPENBLAS_NUM_THREADS'):
        os.environ[name] = str(n)
    # Spinning threads on a shared machine cost tenfold.
    os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
    return n


def run(verb, settings):
    """Run a verb on validated settings in its folder; returns what it found (also in summary.json)."""
    from .job import Job, watch_parent

    watch_parent()
    job = Job(verb, settings)
    module = importlib.import_module(f'.commands.{verb}', __package__)
    # Every check of input comes before the folder is touched.
    inputs = module.load_inputs(settings, job)
    with job.alone():
        job.prepare()
        results = module.run(settings, job, inputs)
        job.finish(results)
    return results


def main(argv=None):
    """Entry point; returns the exit status: 0 done, 1 failed while working, 2 wrong usage or input."""
    try:
        verb, settings = parse(argv)
        use_threads(settings.threads)
        run(verb, settings)
    except InputError as e:
        print(f'cryoemgan: {e}', file=sys.stderr)
        return 2
    except WorkError as e:
        print(f'cryoemgan: {e}', file=sys.stderr)
        return 1
    except OSError as e:
        # A write that fails (a full disk) does not know its file.
        print(
            f'cryoemgan: {e.filename or settings.output}: {e.strerror or e}. Nothing complete was written; '
            'what was there before is unchanged.',
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
