"""Runs of protocols in processes that are forked from one which has imported everything: a start takes no seconds.

The steps, their logs and the database are those of any run. Real starts, through the shell, are tested in test_stop.
"""

import multiprocessing
import os
import re
import shlex
import subprocess
import sys
import time
from types import SimpleNamespace
from unittest import mock

from pyworkflow.protocol import Protocol, executor, runProtocolMain
from pyworkflow.utils import LoggingConfigurator, process

from cryoemgan.engine.__main__ import main
from cryoemgan.engine.tests.steps_here import steps_here

CONTEXT = multiprocessing.get_context('forkserver')
CONTEXT.set_forkserver_preload([f'{__package__}.preloaded'])


def forked_runs():
    """Context in which Scipion starts protocols, and these the engine, without a new interpreter."""
    return mock.patch('pyworkflow.protocol.launch._run', _start_protocol)


def _start_protocol(command, wait, *_streams):
    """Instead of ``python pw_protocol_run.py ...``."""
    started = CONTEXT.Process(target=_protocol, args=(dict(os.environ), shlex.split(command)[2:]))
    started.start()
    if wait:
        started.join()
    return started.pid


def _protocol(environment, arguments):
    os.environ.update(environment)
    project, database, number, *logs = arguments
    LoggingConfigurator.setUpProtocolRunLogging(*logs)
    # Scipion looks for new steps every three seconds.
    often = SimpleNamespace(sleep=lambda seconds: time.sleep(min(seconds, 0.2)))
    with mock.patch.object(process, 'runCommand', _run_engine), mock.patch.object(executor, 'time', often):
        Protocol._stepsCheckSecs = 0.2
        runProtocolMain(project, database, int(number))


def _run_engine(command, env=None, cwd=None, executable=None):
    """Instead of ``VARIABLE=value python -m cryoemgan.engine ...``."""
    variables, arguments = re.fullmatch(r'\s*((?:\w+=\S* )*)\S+ -m cryoemgan\.engine (.*)', command).groups()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        _engine({**env, **dict(v.split('=', 1) for v in variables.split())}, shlex.split(arguments))
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status:
        raise subprocess.CalledProcessError(status, command)


def _engine(environment, arguments):
    """The forked process: never returns."""
    status = 1
    try:
        os.environ.update(environment)
        os.dup2(sys.stdout.fileno(), 1)
        os.dup2(sys.stderr.fileno(), 2)
        sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
        with steps_here():
            status = main(arguments)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)
