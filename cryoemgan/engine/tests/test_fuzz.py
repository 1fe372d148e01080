"""Files that nobody meant: tables, stacks and settings with random damage are read right or refused in one sentence, in
bounded time and memory. CRYOEMGAN_FUZZ_SECONDS: for all kinds together, 20 by default.
"""

import copy
import importlib
import json
import string
from dataclasses import fields

import mrcfile
import numpy as np

from cryoemgan.engine.data.stacks import StackReader
from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.imaging import maps
from cryoemgan.engine.imaging.phantom import claw
from cryoemgan.engine.job import Job
from cryoemgan.engine.settings import COMMANDS
from cryoemgan.engine.settings.base import value_type
from cryoemgan.engine.settings.files import read_settings_file
from cryoemgan.engine.tests import toypairs
from cryoemgan.engine.tests.fuzzing import VALUES, attempts, outcome

STAR = """data_optics

loop_
_rlnOpticsGroupName #1
_rlnOpticsGroup #2
_rlnVoltage #3
_rlnSphericalAberration #4
_rlnAmplitudeContrast #5
_rlnImagePixelSize #6
_rlnImageSize #7
g1 1 300.0 2.7 0.1 2.0 8

data_particles

loop_
_rlnImageName #1
_rlnOpticsGroup #2
_rlnAngleRot #3
_rlnAngleTilt #4
_rlnAnglePsi #5
_rlnOriginXAngst #6
_rlnOriginYAngst #7
_rlnDefocusU #8
_rlnRandomSubset #9
000001@p.mrcs 1 10.0 20.0 30.0 1.0 -1.0 15000.0 1
000002@p.mrcs 1 -10.0 120.0 -30.0 0.0 0.5 16000.0 2
000003@p.mrcs 1 70.0 60.0 130.0 2.0 0.5 9000.0 1
"""
CELLS = (
    'nan', 'inf', '-inf', '1e300', '0', '-1', '1e9', '', '"', "'", '#', ';', '$', '_x', 'data_', 'loop_', 'é', '\ufeff',
    '0@p.mrcs', '9@p.mrcs', '1@', '@', '000001@', '1@/dev/zero', '1@.', '1 2', '<NA>', 'None', '1,5', '0x10', '٣',
    '1_0',
)  # fmt: skip


def damaged_text(rng, text):
    """A table with a few changes of a kind that files suffer."""
    for _ in range(rng.randint(1, 3)):
        lines = text.split('\n') or ['']
        at = rng.randrange(len(lines))
        cells = lines[at].split()
        change = rng.randrange(8)
        if change == 0 and cells:
            cells[rng.randrange(len(cells))] = rng.choice(CELLS)
            lines[at] = ' '.join(cells)
        elif change == 1:
            del lines[at]
        elif change == 2:
            lines.insert(at, lines[rng.randrange(len(lines))])
        elif change == 3 and cells:
            lines[at] = ' '.join(cells[: rng.randrange(len(cells))])
        elif change == 4:
            lines[at] += ' ' + rng.choice(CELLS)
        elif change == 5:
            lines[at] = ''.join(rng.choice(string.printable) for _ in range(rng.randrange(40)))
        elif change == 6:
            lines = lines[:at]
        elif len(text) > 1:
            return text[: rng.randrange(len(text))] + rng.choice('\r\x00\x0b\t"\';') + text[rng.randrange(len(text)) :]
        text = '\n'.join(lines)
    return text


def test_tables(tmp_path):
    """What is read has finite angles, shifts, CTF and pixel sizes, and a row for each image."""
    with mrcfile.new(tmp_path / 'p.mrcs', np.ones((3, 8, 8), np.float32)):
        pass
    path = tmp_path / 'p.star'
    for rng in attempts('star'):
        text = damaged_text(rng, STAR)
        path.write_bytes(text.encode('utf-8', 'surrogatepass'))

        def read():
            table = ParticleTable.read(path)
            numbers = [table.rotations(), table.shifts(), table.pixel_sizes, *table.ctf().values()]
            return len(table), numbers, table.images().read(range(len(table))), table.half_sets(), table.names()

        found = outcome(read, text)
        if found is not None:
            count, numbers, images, _, names = found
            assert all(len(n) == count and np.isfinite(n).all() for n in numbers), text
            assert len(images) == len(names) == count >= 1, text


# Stacks and maps


def test_stacks_and_maps(tmp_path):
    """Headers with random words, and files that end early."""
    data = np.random.default_rng(0).normal(size=(6, 6, 6)).astype(np.float32)
    with mrcfile.new(tmp_path / 'good.mrc', data) as mrc:
        mrc.voxel_size = 2.0
    good, path = (tmp_path / 'good.mrc').read_bytes(), tmp_path / 'bad.mrc'
    words = (0, 1, 2, 3, 5, 6, 7, 12, -1, 255, 2**31 - 1, -(2**31), 1 << 24, 0x7FC00000, 0x7F800000, 101, 40, 8192)
    for rng in attempts('mrc'):
        raw = bytearray(good)
        for _ in range(rng.randint(1, 4)):
            at = 4 * rng.choice([*range(0, 25), *range(49, 56), rng.randrange(256)])
            raw[at : at + 4] = (rng.choice(words) & 0xFFFFFFFF).to_bytes(4, rng.choice(('little', 'big')))
        if rng.random() < 0.2:
            del raw[rng.randrange(len(raw)) :]
        if rng.random() < 0.1:
            raw[1024 + 4 * rng.randrange(200) :][:4] = np.float32(rng.choice((np.nan, np.inf, 3e38))).tobytes()
        path.write_bytes(raw)
        what = bytes(raw[:224])
        found = outcome(lambda: maps.read_map(path), what)
        if found is not None:
            assert np.isfinite(found.data).all(), what
            assert len(set(found.data.shape)) == 1, what
            assert 0 < found.pixel_size <= 100, what
        images = outcome(lambda: StackReader([path], [0], [0]).read([0]), what)
        assert images is None or np.isfinite(images).all(), what


# Settings


def test_settings_files(tmp_path):
    """Values of every kind for every option of every command."""
    path = tmp_path / 's.json'
    for rng in attempts('settings'):
        cls = rng.choice(list(COMMANDS.values()))
        names = [*(f.name for f in fields(cls)), 'unknown']
        data = {rng.choice(names): copy.deepcopy(rng.choice(VALUES)) for _ in range(rng.randint(1, 4))}
        given = {'output': str(tmp_path / 'out')}
        text = json.dumps(data)
        if rng.random() < 0.1:
            text = text.replace('}', rng.choice((']', '', '}}', '[' * 500)), 1)
        path.write_text(text, encoding='utf-8')
        required = {f.name: str(path) for f in fields(cls) if f.metadata['required']}
        outcome(lambda: settings_of(cls, {**required, **read_settings_file(cls, path), **given}), (cls, text))  # noqa: B023


def settings_of(cls, values):
    """Checked settings, filled from their preset."""
    settings = cls(**values)
    settings.validate()
    return settings.filled()


def test_options_against_data(tmp_path):
    """Odd values of single options, which only the data can refuse."""
    particles, references = (str(p) for p in toypairs.pairs(tmp_path, count=24))
    table = ParticleTable.read(particles)
    for label in ('rlnAngleRot', 'rlnAngleTilt', 'rlnAnglePsi'):
        table.set(label, np.linspace(1, 170, 24))
    table.write(tmp_path / 'angles.star')
    maps.write_map(tmp_path / 'map.mrc', claw(2)[0].volume(32), toypairs.PIXEL_SIZE)
    given = {
        'project': {'particles': str(tmp_path / 'angles.star'), 'volume': str(tmp_path / 'map.mrc')},
        'train': {'particles': particles, 'references': references, 'iterations': 1, 'batch_size': 4},
        'filter': {'particles': particles},
        'cluster': {'particles': particles},
        'simulate': {},
        'originals': {'particles': references, 'source': particles},
    }
    values = [v for v in VALUES if v is not None]
    for rng in attempts('options'):
        command = rng.choice(list(given))
        cls = COMMANDS[command]
        name = rng.choice([f.name for f in fields(cls) if f.name not in given[command]])
        kind, many = value_type(cls, name)
        fitting = [v for v in values if isinstance(v, kind) and isinstance(v, bool) == (kind is bool)]
        value = rng.choice([*fitting, 2, 3, 1000, 2**40] if kind is int else [*fitting, 'none', 'auto', '2', '0', '-1'])
        choices = next(f.metadata['choices'] for f in fields(cls) if f.name == name)
        value = rng.choice(choices) if choices else value
        options = {**given[command], name: [value] if many else value, 'output': str(tmp_path / 'out'), 'threads': 1}
        module = importlib.import_module(f'cryoemgan.engine.commands.{command}')

        def read():
            settings = settings_of(cls, options)  # noqa: B023
            return module.load_inputs(settings, Job(command, settings))  # noqa: B023

        outcome(read, (command, name, value))
