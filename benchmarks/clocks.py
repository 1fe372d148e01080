"""Running a command of the program as a user does, in a process of its own, and what it cost."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

# ``train --minutes`` counts CPU seconds of the process, so that other load of the machine does not matter.
ENGINE = (
    'import sys, time; from cryoemgan.engine import __main__; from cryoemgan.engine.training import loop; '
    'from cryoemgan.engine.posterior import preparation; '
    'loop.clock = preparation.clock = time.process_time; sys.exit(__main__.main())'
)
COST = 'cost.json'


def command(name: str, folder: Path, **options: Any) -> dict[str, Any]:
    """Run a command unless its result is there (going on with an interrupted training); its summary.

    One thread. options: NAME=value for --name value; a list repeats it, True stands alone, None and False are left out.
    What it cost is added to ``cost.json`` in the folder: CPU and wall seconds, start of the program included.
    """
    summary = folder / 'summary.json'
    if not summary.exists():
        words = words_of(options)
        if (folder / 'settings.json').exists():
            words.append('--resume' if name == 'train' else '--overwrite')
        argv = [sys.executable, '-c', ENGINE, name, '--output', str(folder), '--threads', '1', *words]
        before, start = children(), time.monotonic()
        with _log(folder) as log:
            done = subprocess.run(argv, env={**os.environ, 'OMP_NUM_THREADS': '1'}, stdout=log, stderr=log)
        if done.returncode:
            raise RuntimeError(f'{name}: {Path(log.name).read_text()[-1500:]}')
        paid = cost(folder)
        paid = {'cpu': paid['cpu'] + children() - before, 'wall': paid['wall'] + time.monotonic() - start}
        (folder / COST).write_text(json.dumps(paid))
    return json.loads(summary.read_text())


def cost(folder: Path) -> dict[str, float]:
    """{'cpu', 'wall'} seconds that the command in a folder took."""
    path = folder / COST
    return json.loads(path.read_text()) if path.exists() else {'cpu': 0.0, 'wall': 0.0}


def words_of(options: dict[str, Any]) -> list[str]:
    """Options as words of a command line."""
    words: list[str] = []
    for key, value in options.items():
        for item in value if isinstance(value, list) else [value]:
            if item is None or item is False:
                continue
            words += ['--' + key.replace('_', '-')] + ([] if item is True else [str(item)])
    return words


def _log(folder: Path):
    folder.parent.mkdir(parents=True, exist_ok=True)
    return open(folder.with_name(folder.name + '.log'), 'w', encoding='utf-8')


def children() -> float:
    """CPU seconds of the processes that this one started, and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
