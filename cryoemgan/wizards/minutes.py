"""Minutes of training, from what this machine does in a few seconds of it."""

import json
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

from pyworkflow.gui.dialog import showWarning
from pyworkflow.wizard import Wizard

from ..figures.style import read_columns
from ..plugin import Plugin
from ..protocols.report import CryoEMGANProtReport
from ..protocols.train import CryoEMGANProtTrain
from .dialogs import ChoiceDialog

# Of the measurement: iterations of training, particles that it simulates.
ITERATIONS, COUNT = 12, 64
OFFERED = (1, 5, 10, 20, 60, 180)


@dataclass(frozen=True)
class Pace:
    """What a machine does. particles: shown to a network in a minute; start: seconds before the first of them."""

    particles: float
    start: float

    def lines(self, count):
        """[(minutes, line for a person)]; count: particles of the set, which two networks share."""
        found = []
        for minutes in OFFERED:
            passes = self.particles * minutes / max(count, 1)
            words = 'each particle is seen ' + (f'{passes:.0f} times' if passes >= 2 else f'{passes:.1f} times')
            found.append((minutes, f'{minutes:4d} min: {self.particles * minutes:12,.0f} particles, {words}'))
        return found


def measure(protocol):
    """Pace of training with the form's network, box and device, on simulated particles of the form's size;
    RuntimeError with the program's own words when it fails."""
    particles = protocol.inputParticles.get()
    folder = tempfile.mkdtemp(prefix='cryoemgan-pace-')
    try:
        made = {'phantom': 1, 'box': particles.getXDim(), 'pixel_size': particles.getSamplingRate(), 'count': COUNT}
        _engine(protocol, 'simulate', folder, 'set', made)
        own = protocol._form_values() if isinstance(protocol, CryoEMGANProtTrain) else {}
        wanted = {'particles': f'{folder}/set/noisy.star', 'cross_fit': 'none', 'iterations': ITERATIONS,
                  'evaluations': 2}  # fmt: skip
        wanted |= {k: own[k] for k in ('network', 'box', 'batch_size', 'preset', 'gan') if k in own}
        if own.get('target', 'references') == 'references':
            wanted['references'] = f'{folder}/set/clean.star'
        else:
            wanted['target'] = 'self'
        if own.get('network') == 'guided':
            wanted['volume'] = [f'{folder}/set/volume_1.mrc']
        _engine(protocol, 'train', folder, 'train', wanted)
        found = json.loads(Path(folder, 'train', 'summary.json').read_text(encoding='utf-8'))
        rows = read_columns(Path(folder, 'train', 'metrics.csv'), only=('iteration', 'seconds'))
        # Between the last two evaluations: without preparation and the first, slow steps.
        (first, last), (before, after) = rows['iteration'][-2:], rows['seconds'][-2:]
        each = max(after - before, 1e-6) / (last - first)
        return Pace(60 * found['batch_size'] / each, max(0.0, found['wall_seconds'] - last * each))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _engine(protocol, verb, folder, name, settings):
    """One run of the engine, as the protocol would run it, without a project."""
    path = os.path.join(folder, f'{verb}.json')
    Path(path).write_text(json.dumps(settings), encoding='utf-8')
    gpus = protocol.gpuList.get('') if protocol.usesGpu() else ''
    command = (
        f'{Plugin.getProgram(gpus)} {verb} --settings {path} --output {folder}/{name} '
        f'--threads {max(1, protocol.numberOfThreads.get())} --device {"auto" if protocol.usesGpu() else "cpu"}'
    )
    done = subprocess.run(command, shell=True, env=Plugin.getEnviron(), capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith('cryoemgan: ')]
        raise RuntimeError((said or done.stderr.strip().splitlines() or ['it ended without a word'])[-1])


class MinutesWizard(Wizard):
    """Trains for a few seconds, and says what longer runs bring."""

    _targets = [(cls, ['minutes']) for cls in (CryoEMGANProtTrain, CryoEMGANProtReport)]

    def show(self, form, *params):
        """Measure, then open the window; the form gets the minutes."""
        protocol = form.protocol
        if protocol.inputParticles.get() is None or not protocol.inputParticles.get().getSize():
            showWarning('No particles', 'Select the particles first: their box and number count.', form.root)
            return
        found = []
        Thread(target=self._measured, args=(protocol, found), daemon=True).start()
        form.root.config(cursor='watch')
        self._wait(form, found)

    @staticmethod
    def _measured(protocol, found):
        try:
            found.append(measure(protocol))
        except (RuntimeError, OSError, ValueError, KeyError) as e:
            found.append(str(e))

    def _wait(self, form, found):
        if not found:
            form.root.after(200, lambda: self._wait(form, found))
            return
        form.root.config(cursor='')
        if isinstance(found[0], str):
            showWarning('Could not be measured', found[0], form.root)
            return
        self._ask(form, found[0])

    @staticmethod
    def _ask(form, pace):
        count = form.protocol.inputParticles.get().getSize()
        lines = pace.lines(count)
        dialog = ChoiceDialog(
            form.root,
            'Minutes of training',
            f'Measured here: {pace.particles:,.0f} particles a minute, after {pace.start:.0f} s of preparation (a '
            f'guided network prepares longer). Your set has {count:,} particles; cross-fitted networks share the '
            'minutes. What more of them brings for your particles, the curves of a run show.',
            [line for _, line in lines],
        )
        if dialog.resultYes() and dialog.chosen:
            form.setVar('minutes', lines[dialog.chosen[0]][0])
