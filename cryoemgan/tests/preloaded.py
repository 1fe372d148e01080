"""What runs of protocols import, for the process that they are forked from (see forked.py)."""

import importlib

import pyworkflow as pw

from cryoemgan.engine.settings import COMMANDS

pw.Config.getDomain().getProtocols()
for name in COMMANDS:
    importlib.import_module(f'cryoemgan.engine.commands.{name}')
