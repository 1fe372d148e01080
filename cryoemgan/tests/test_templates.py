"""The workflow templates through scipion-app, as its command and as its window; and starts that come twice."""

import os
import shutil
import subprocess
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from unittest import SkipTest, TestCase, mock

import pyworkflow as pw
from pyworkflow.protocol import STATUS_FINISHED, STATUS_RUNNING
from pyworkflow.template import TemplateList

from cryoemgan.tests import data
from cryoemgan.tests.workflow import ProjectTest

# Template: what runs after the imports (of particles, and but for map_free of a map), in order.
CHAINS = {
    'denoise': ['Project', 'Train', 'Denoise', 'Audit'],
    'sort': ['Project', 'Train', 'Denoise', 'Audit', 'Select'],
    'facility': ['Project', 'Denoise', 'Audit'],
    'map_free': ['Train', 'Denoise'],
}


def template(name):
    """A template of ours as scipion-app has it before its fields are asked for."""
    found = TemplateList()
    found.addPluginTemplates(f'cryoemgan-{name}')
    chosen = found.templates[0]
    chosen.replaceEnvVariables()
    return chosen


def write_files(folder):
    """{alias: value} of every field of every template; files that exist."""
    for name in ('run_data.star', 'map.mrc', 'half1.mrc', 'half2.mrc', 'model'):
        data.write_map(folder / name) if name.endswith('mrc') else (folder / name).mkdir()
    return {
        'star': folder / 'run_data.star', 'pixelSize': 4.5, 'voltage': 200, 'cs': 2.0, 'amplitudeContrast': 0.07,
        'map': folder / 'map.mrc', 'half1': folder / 'half1.mrc', 'half2': folder / 'half2.mrc',
        'network': 'Guided by the map', 'minutes': 2.5, 'gpu': '1', 'threads': 3, 'model': folder / 'model',
    }  # fmt: skip


def start_display():
    """(name of a display for windows, the one there is or a virtual one; the process that shows it, or None)."""
    if os.environ.get('DISPLAY'):
        return os.environ['DISPLAY'], None
    if not shutil.which('Xvfb'):
        raise SkipTest('no display and no Xvfb')
    server = subprocess.Popen(['Xvfb', '-displayfd', '1', '-screen', '0', '1280x800x24'], stdout=subprocess.PIPE)
    return f':{server.stdout.readline().decode().strip()}', server


def kickoff():
    """scipion-app's own code for templates."""
    if find_spec('scipion') is None:
        raise SkipTest('no scipion-app')
    from scipion.scripts import kickoff as found

    return found


class TestFields(TestCase):
    """What the window of a template shows."""

    def test_every_field_is_plain(self):
        """No tick boxes (their window answers "Yes"), titles that differ, defaults that are accepted as they stand."""
        for name in CHAINS:
            with self.subTest(name=name):
                chosen = template(name)
                chosen.parseContent()
                fields = [f for f in chosen.content[1::2]]
                assert len(chosen.params) == len(fields) <= 13
                assert all(f.getType() != pw.VarTypes.BOOLEAN.value for f in chosen.params.values())
                paths = (pw.VarTypes.PATH.value, pw.VarTypes.FOLDER.value)
                assert all(f.validate() is None for f in chosen.params.values() if f.getType() not in paths)


class TestTemplates(ProjectTest):
    """Each template filled and loaded into a project."""

    count, box = 4, 16

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        cls.files = write_files(Path(cls.folder.name))

    def check(self, name, chosen):
        """The workflow: values, pointers, one root, and each run scheduled once by Scipion's walk."""
        runs = list(self.proj.loadProtocols(chosen.createTemplateFile()).values())
        imports = len(runs) - len(CHAINS[name])
        assert [type(r).__name__.removeprefix('CryoEMGANProt') for r in runs[imports:]] == CHAINS[name]
        particles = runs[0]
        assert (particles.samplingRate.get(), particles.voltage.get()) == (4.5, 200)
        assert particles.starFile.get() == str(self.files['star'])
        for volume in runs[1:imports]:
            assert volume.half2map.get() == str(self.files['half2'])
            assert volume.samplingRate.getPointer().getObjValue() is particles
            assert list(map(int, volume.getPrerequisites())) == [particles.getObjId()]
        assert imports == (1 if name == 'map_free' else 2)
        by_name = dict(zip(CHAINS[name], runs[imports:]))
        for step, run in by_name.items():
            assert run.inputParticles.getObjValue() is (by_name['Denoise'] if step == 'Select' else particles)
        if name == 'facility':
            assert by_name['Denoise'].modelFolder.get() == str(self.files['model'])
            assert by_name['Audit'].inputModel.getObjValue() is by_name['Denoise']
        else:
            values = by_name['Train']._form_values()
            # Map-free leaves the network to the preset.
            network, target = (None, 'self') if name == 'map_free' else ('guided', 'references')
            assert (values.get('network'), values['minutes'], values['target']) == (network, 2.5, target)
            assert by_name['Train'].numberOfThreads.get() == 3
        ids = {r.getObjId() for r in runs}
        started = [
            prot.getObjId()
            for root in self.proj.getRunsGraph(refresh=True).getRootNodes()
            for child in root.getChildren()
            for prot, _ in self.proj._getSubworkflow(child.run)[0].values()
        ]
        assert sorted(i for i in started if i in ids) == sorted(ids)

    def test_without_a_window(self):
        resolve = kickoff().resolveTemplate
        for name in CHAINS:
            with self.subTest(name=name):
                chosen = template(name)
                chosen.parseContent()
                wanted = {f.getAlias() for f in chosen.params.values()}
                arguments = [f'{alias}={value}' for alias, value in self.files.items() if alias in wanted]
                # True: nothing is left to ask.
                assert resolve(chosen, arguments)
                self.check(name, chosen)

    def test_with_a_window(self):
        app = kickoff()
        display, server = start_display()
        if server is not None:
            self.addCleanup(server.wait)
            self.addCleanup(server.terminate)
        patch = mock.patch.dict(os.environ, DISPLAY=display)
        patch.start()
        self.addCleanup(patch.stop)
        for name in CHAINS:
            with self.subTest(name=name):
                chosen = template(name)
                chosen.parseContent()
                window = app.KickoffWindow(chosen, [], True, True, True, True, True)
                window.root.update()
                assert window.viewWidget.winfo_reqheight() < 700
                for field in chosen.params.values():
                    window.viewWidget._setValue(field.getTitle(), str(self.files[field.getAlias()]))
                # What the button "Accept" calls; on errors a dialog would open.
                window.showError = self.fail
                window.viewWidget._onReadDataFromTemplateForm()
                assert window.action == app.ACCEPT_BUTTON
                window.root.destroy()
                self.check(name, window.template)

    def test_a_wrong_word_is_said(self):
        chosen = template('denoise')
        chosen.parseContent()
        for field in chosen.params.values():
            field.setValue(str({**self.files, 'network': 'blind'}[field.getAlias()]))
        with self.assertRaisesRegex(ValueError, 'Network: "blind" is none of: trained on the map, guided'):
            self.proj.loadProtocols(chosen.createTemplateFile())

    def test_a_second_start_leaves_the_run_to_the_first(self):
        """Both starts are real; the second comes while the first works."""
        run = self.make('CryoEMGANProtSimulate', count=6000, box=32, phantomStates=1, numberOfThreads=1)
        self.proj.launchProtocol(run)
        lock, end = run._getLogsPath('running.lock'), time.time() + 60
        while not (os.path.exists(lock) and os.path.getsize(lock)) and time.time() < end:
            time.sleep(0.2)
        self.proj.launchProtocol(run, scheduled=True, force=True, wait=True)
        self.proj._updateProtocol(run)
        assert run.getStatus() == STATUS_RUNNING
        with open(lock, encoding='ascii') as f:
            assert run.getPid() == int(f.read())
        while run.isActive() and time.time() < end:
            time.sleep(0.5)
            self.proj._updateProtocol(run)
        assert run.getStatus() == STATUS_FINISHED
        with open(run.getStdoutLog(), encoding='utf-8') as f:
            text = f.read()
        assert text.count('started twice') == 1
        assert text.count('FINISHED: runEngineStep') <= 1
