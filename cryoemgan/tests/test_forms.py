"""Forms: one definition of every parameter, and messages for wrong input before any work."""

import dataclasses
import os
import re
import tempfile
import unittest
from pathlib import Path

from pwem.objects import Volume
from pyworkflow.protocol import params

from cryoemgan import protocols
from cryoemgan.engine.settings import COMMANDS
from cryoemgan.engine.settings.reading import Reading
from cryoemgan.protocols.form import DOOR, HELP_WIDTH, OPEN_CHOICE, OURS, camel
from cryoemgan.protocols.progress import describe_progress
from cryoemgan.protocols.train_form import MAP_FREE
from cryoemgan.tests import data

ALL = [getattr(protocols, name) for name in protocols.__all__]
# Those that run a verb of the engine.
VERB = [cls for cls in ALL if hasattr(cls, '_verb')]
# Fields with Scipion's own helps.
SCIPIONS = ('runName', 'runMode', 'hostName', 'numberOfThreads')

# Words of the shell, of files and of our own workshop; a form is read by people who know none of them.
FORBIDDEN = (
    r'(?<!\w)--[a-z]', r'\bSTAR\b(?! file)', r'\brepeat(able|ed for)', r'\bmembers?\b', r'\bthe bank\b', r'\braw\b',
    r'\bblind\b(?![- ]spot)', r'\bempty particles\b', r'\bput to\b', r'\bby heart\b', r'\bsorted out\b', r'_cryoemgan',
    # A measured figure belongs to the page that made it.
    r'\btells? it\b', r'\d ?(percent|ms)\b', r'\d+(\.\d+)? (s|times) (at|faster|slower)',
)  # fmt: skip


def _pages(protocol, advanced=True):
    """{page: height in px} of the filled form, as Scipion draws it: 30 a field, 38 a frame round a group."""
    heights = {}
    for page in protocol._definition.iterSections():
        if page.label.get() in ('General', 'Parallelization'):
            continue
        height = 0
        for name, param in page.iterParams():
            grouped = hasattr(param, 'iterParams')
            names = [n for n, p in (param.iterParams() if grouped else [(name, param)]) if advanced or not p.isExpert()]
            rows = [n for n in names if n not in ('useGpu', 'gpuList') and protocol.evalParamCondition(n)]
            height += 30 * len(rows) + 38 * (grouped and bool(rows))
        heights[page.label.get()] = height
    return heights


class TestForms(unittest.TestCase):
    """Forms without a project."""

    def folder(self):
        """A folder that goes when the test ends."""
        made = tempfile.TemporaryDirectory()
        self.addCleanup(made.cleanup)
        return Path(made.name)

    def test_every_setting_is_in_the_form_once(self):
        for cls in VERB:
            with self.subTest(cls=cls.__name__):
                protocol, settings = cls(), COMMANDS[cls._verb]
                for field in dataclasses.fields(settings):
                    name = camel(field.name)
                    if field.name in DOOR and issubclass(settings, Reading):
                        continue
                    if field.name in (*OURS, *cls._from_inputs):
                        assert not protocol.hasAttribute(name) or name in ('mask', 'inputParticles')
                        continue
                    param = protocol.getParam(name)
                    assert param.isExpert() == field.metadata['expert']
                    if field.metadata['choices']:
                        assert isinstance(param, params.EnumParam)
                        chosen = [c for c in param.choices if not c.startswith(OPEN_CHOICE)]
                        # "guided" is one of the three kinds of network on the first page.
                        assert chosen == [
                            c for c in field.metadata['choices'] if (field.name, c) != ('network', 'guided')
                        ]

    def test_untouched_form_gives_the_settings_own_defaults(self):
        for cls in VERB:
            with self.subTest(cls=cls.__name__):
                values, settings = cls()._form_values(), COMMANDS[cls._verb]
                for field in dataclasses.fields(settings):
                    if field.name in values:
                        assert values[field.name] == field.default

    def test_helps_fit_the_box_and_speak_of_the_form(self):
        """Scipion's window grows with the line breaks of a text, up to 27 lines; options belong to the shell."""
        for cls in ALL:
            with self.subTest(cls=cls.__name__):
                for name, param in cls()._definition.iterParams():
                    text = param.help.get() or ''
                    if name in SCIPIONS:
                        continue
                    assert all(len(line) <= HELP_WIDTH for line in text.splitlines()), name
                    assert len(text.splitlines()) <= 27, name

    def test_texts_of_a_form_are_plain(self):
        for cls in ALL:
            with self.subTest(cls=cls.__name__):
                texts = {'description': cls.__doc__}
                for name, param in cls()._definition.iterParams():
                    if name not in SCIPIONS:
                        texts[name] = f'{param.label.get()}. {param.help.get() or ""}'
                for name, text in texts.items():
                    for word in FORBIDDEN:
                        found = re.search(word, text)
                        assert not found, (name, found[0], text)
                    # One help, one field: a copied one speaks of another.
                    assert name == 'description' or len(param.label.get()) < 60

    def test_forms_fit_a_small_screen(self):
        """1280 x 800: beside the pages, header and buttons take about 350 px; what is taller hides Execute."""
        for cls in ALL:
            with self.subTest(cls=cls.__name__):
                for name, param in cls()._definition.iterParams():
                    values = range(len(param.choices)) if isinstance(param, params.EnumParam) else ()
                    values = (True, False) if isinstance(param, params.BooleanParam) else values
                    for value in values:
                        protocol = cls()
                        protocol.setAttributeValue(name, value)
                        for page, height in _pages(protocol).items():
                            assert height <= 450, (page, name, value, height)
                        # A page that opens empty looks broken.
                        assert all(_pages(protocol, advanced=False).values()), (
                            name,
                            value,
                            _pages(protocol, advanced=False),
                        )

    def test_a_hidden_pointer_is_no_input(self):
        """Scipion fills every pointer; what the form does not show is neither an input nor checked."""
        folder = self.folder()
        particles = data.make_particles(folder, count=4)
        audit = protocols.CryoEMGANProtAudit()
        audit.inputNoiseParticles.set(particles)
        assert [name for name, _ in audit.iterInputAttributes()] == []
        audit.haveNoise.set(True)
        assert [name for name, _ in audit.iterInputAttributes()] == ['inputNoiseParticles']

    def test_optional_pointers_are_asked_for_first(self):
        """Scipion fills in what it can: what may stay empty appears when a question or a choice wants it."""
        for cls in ALL:
            for name, param in cls()._definition.iterAllParams():
                if isinstance(param, (params.PointerParam, params.MultiPointerParam)) and param.allowsNull:
                    asked = str(param.condition)
                    assert [n for n, p in cls()._definition.iterAllParams() if n in asked and n != name], (cls, name)

    def test_fields_appear_when_they_count(self):
        """Of forms with many: those of the CTF with a CTF, those of a method with the method."""
        for name, field, value, fields in (
            ('Simulate', 'ctf', True, ('defocusMin', 'astigmatism', 'voltage')),
            ('Simulate', 'source', 1, ('inputModels', 'bFactor')),
            ('Cluster', 'compare', 2, ('align',)),
            ('Train', 'approach', 1, ('bankSize', 'posePrior')),
        ):
            protocol = getattr(protocols, f'CryoEMGANProt{name}')()
            if name == 'Cluster':
                protocol.compare.set(1)
            assert not [f for f in fields if protocol.evalParamCondition(f)], name
            protocol.setAttributeValue(field, value)
            assert all(protocol.evalParamCondition(f) for f in fields), name

    def test_gpus_are_asked_for_where_one_is_used(self):
        found = {cls.__name__.removeprefix('CryoEMGANProt') for cls in ALL if cls().hasAttribute('useGpu')}
        assert found == {'Audit', 'Denoise', 'Project', 'Report', 'Simulate', 'Train'}

    def test_protocols_are_found_by_what_they_do(self):
        """The search of Scipion's tree looks through labels and descriptions; names are not cut there."""
        for word, name in (('wiener', 'Filter'), ('junk', 'Select'), ('select', 'Select'), ('cluster', 'Cluster')):
            cls = getattr(protocols, f'CryoEMGANProt{name}')
            assert word in f'{cls.getClassLabel()} {cls.getHelpText()}'.lower()
        assert all(len(cls._label) <= 20 for cls in ALL)
        # Named in the tree without the plugin's name, which would cut them.
        menu = (Path(protocols.__file__).parents[1] / 'protocols.conf').read_text(encoding='utf-8')
        assert all(f'"value": "{cls.__name__}", "text": "{cls._label}"' in menu for cls in ALL)

    def test_fields_that_are_not_shown_are_not_sent(self):
        train = protocols.CryoEMGANProtTrain()
        train.alpha.set(0.3)
        train.gan.set(train.getParam('gan').choices.index('none'))
        assert 'alpha' not in train._form_values()
        train.gan.set(train.getParam('gan').choices.index('beta'))
        values = train._form_values()
        assert (values['gan'], values['alpha']) == ('beta', 0.3)
        assert 'gradient_penalty' not in values

    def test_ranges_and_exclusions_are_said(self):
        train = protocols.CryoEMGANProtTrain()
        train.alpha.set(1.5)
        assert train.getParam('alpha').validate(1.5) == ['must be at least -1 and at most 1']
        assert train.getParam('alpha').validate(None) == []
        train.gan.set(train.getParam('gan').choices.index('beta'))
        train.alpha.set(0.5)
        train.epochs.set(3)
        train.minutes.set(3.0)
        assert any('only one of' in e and '"Epochs"' in e for e in train._check_settings())
        # A field out of range is said once, by Scipion.
        train.alpha.set(1.5)
        assert train._check_settings() == []

    def test_digest_follows_what_decides_the_result(self):
        a, b = protocols.CryoEMGANProtProject(), protocols.CryoEMGANProtProject()
        assert a._digest() == b._digest()
        b.lowpass.set(12.0)
        assert a._digest() != b._digest()
        b.lowpass.set(None)
        b.numberOfThreads.set(7)
        assert a._digest() == b._digest()

    def test_run_state(self):
        """What an earlier run left decides between a new start, --resume, --overwrite and nothing to do."""
        folder = self.folder()
        train = protocols.CryoEMGANProtTrain()
        assert train._run_state({}, folder / 'run') == 'empty'
        (folder / 'run').mkdir()
        (folder / 'run' / 'settings.json').write_text('{"settings": {"alpha": 0.5, "epochs": 3, "threads": 9}}')
        assert train._run_state({'alpha': 0.5, 'epochs': 3}, folder / 'run') == 'unfinished'
        assert train._run_state({'alpha': 0.5, 'epochs': 6}, folder / 'run') == 'unfinished'
        assert train._run_state({'alpha': 0.4, 'epochs': 3}, folder / 'run') == 'other'
        (folder / 'run' / 'summary.json').write_text('{}')
        assert train._run_state({'alpha': 0.5, 'epochs': 3}, folder / 'run') == 'complete'
        assert train._run_state({'alpha': 0.5, 'epochs': 6}, folder / 'run') == 'unfinished'
        (folder / 'run' / 'settings.json').write_text('not json')
        assert train._run_state({'alpha': 0.5}, folder / 'run') == 'other'

    def test_message_from_a_queue_of_steps(self):
        """Each step a job: the engine's stderr is in a log of the queue, and old messages are not told again."""
        folder = self.folder()
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(folder)
        project = protocols.CryoEMGANProtProject(workingDir='run')
        logs = folder / 'run' / 'logs'
        logs.mkdir(parents=True)
        own, queued = logs / 'run.stderr', logs / '160-2-1.err'
        own.write_text('cryoemgan: of an earlier start\n')
        queued.write_text('cryoemgan: of an earlier job, and long\n')
        before = project._error_logs()
        assert project._engine_message(before) == ''
        queued.write_text('noise\ncryoemgan: a.mrcs: truncated\n')
        assert project._engine_message(before) == 'a.mrcs: truncated'
        before = project._error_logs()
        with own.open('a') as f:
            f.write('cryoemgan: --ctf: of this start\n')
        assert project._engine_message(before).endswith(': of this start')

    def test_half_maps_of_the_map_are_used(self):
        """A map that brings its half maps, and particles that know their half set: each is projected from its own."""
        folder = self.folder()
        particles = data.make_particles(folder, count=6, with_ctf=True)
        paths = [folder / f'half{i}.mrc' for i in (1, 2)]
        for path in paths:
            path.write_bytes(b'')
        volume = Volume(location=str(folder / 'map.mrc'))
        project = protocols.CryoEMGANProtProject()
        project.inputParticles.set(particles)
        project.inputVolume.set(volume)
        assert project._half_maps() == []
        volume.setHalfMaps(','.join(map(str, paths)))
        assert project._half_maps() == [(1, str(path)) for path in paths]
        project.halfMaps.set(project.getParam('halfMaps').choices.index('do not use'))
        assert project._half_maps() == []

    def test_training_without_a_map_asks_for_none(self):
        """The form with "self" sends no references and hides what needs them; it says what "copies" lacks."""
        train = protocols.CryoEMGANProtTrain()
        assert list(train._partner()) == ['references']
        train.approach.set(MAP_FREE)
        values = train._form_values()
        assert values['target'] == 'self'
        assert 'hidden_pixels' in values
        assert 'min_agreement' not in values
        assert train._partner() == {}
        assert train._check_settings() == []
        assert not train.evalParamCondition('inputReferences')
        train.gan.set(train.getParam('gan').choices.index('beta'))
        assert any('"Adversary" (page Network and losses) beta needs references' in e for e in train._check_settings())
        train.gan.set(0)
        train.haveCopies.set(True)
        assert list(train._partner()) == ['copies']
        assert train._check_settings() == []
        assert 'hidden_pixels' not in train._form_values()

    def test_progress_is_read_from_the_log(self):
        """The last bar counts, whatever else is said; a bar that has just begun knows no time."""
        folder = self.folder()
        log = folder / 'run.stderr'
        assert describe_progress(log) is None
        log.write_text(
            'checking pairs: 100%|####| 48/48 [00:00<00:00, 2323.79it/s]\n\rtraining:   0%|    | 0/6 [00:00<?, ?it/s]'
        )
        assert describe_progress(log) == 'training: 0 % done'
        with log.open('a') as f:
            f.write('\rtraining:  50%|#####     | 3/6 [00:01<01:07,  2.62it/s, validation mse 0.0002678 psnr 35.72]')
        assert describe_progress(log) == 'training: 50 % done, about 01:07 to go'
