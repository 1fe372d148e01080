"""Steps of ``report`` in the process that asks for them, without the seconds that nine new interpreters import for."""

from unittest import mock

from cryoemgan.engine.__main__ import main
from cryoemgan.engine.commands.report.steps import Runner
from cryoemgan.engine.settings.base import flag


def steps_here():
    """Context in which the steps of a report are no processes of their own."""
    return mock.patch.object(Runner, '_start', _start)


def _start(runner, step, flags):
    machine = [word for name, value in runner._machine().items() for word in (flag(name), str(value))]
    assert main([*step.arguments(runner._root), *machine, *flags]) == 0, step.folder
