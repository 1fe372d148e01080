"""Files that nobody meant: tables, stacks, settings and model cards with random damage are read right or refused in one
sentence, in bounded time and memory. CRYOEMGAN_FUZZ_SECONDS: for all kinds together, 20 by default.
"""

import copy
import importlib
import json
import os
import random
import resource
import string
import time
import warnings
from dataclasses import fields

import mrcfile
import numpy as np
import pytest
import torch

from cryoemgan.engine import networks
from cryoemgan.engine.data.stacks import StackReader
from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.errors import InputError
from cryoemgan.engine.imaging import maps
from cryoemgan.engine.imaging.phantom import claw
from cryoemgan.engine.inference.model import Model
from cryoemgan.engine.inference.model_writer import save_model
from cryoemgan.engine.job import Job
from cryoemgan.engine.posterior.library import TemplateLibrary
from cryoemgan.engine.posterior.map_prior import Context, MapPrior, MapPriorOptions
from cryoemgan.engine.posterior.posterior import Search
from cryoemgan.engine.settings import COMMANDS
from cryoemgan.engine.settings.base import value_type
from cryoemgan.engine.settings.files import read_settings_file
from cryoemgan.engine.tests import toypairs

SECONDS = float(os.environ.get('CRYOEMGAN_FUZZ_SECONDS', '20'))
SHARE = {'star': 0.25, 'mrc': 0.15, 'settings': 0.1, 'options': 0.2, 'card': 0.15}
# Of one file, and of memory beyond what was in use before.
SLOWEST, LARGEST = 10.0, 2 * 2**30
VALUES = (
    None, True, 0, -1, 1, 0.5, -0.5, 1e9, -1e9, 1e29, 1e308, 2**70, 5, '', 'x', '²', '$x^2_{$', 'nan', '1e400', [], {},
    [[]], ['x'] * 30, {'a': None}, [1] * 1000, 'x' * 5000, '../../x', '\0', '\ud800', float('nan'), float('inf'),
    10**400,
)  # fmt: skip


def attempts(kind):
    """A random.Random for each attempt, as many as there is time for; the first ones are the same on each machine."""
    start, number = time.monotonic(), 0
    while number < 20 or time.monotonic() - start < SECONDS * SHARE[kind]:
        yield random.Random(f'{kind} {number}')
        number += 1


def outcome(read, what):
    """What ``read`` gives, or None when it refuses in one sentence; anything else fails the test."""
    start, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            found = read()
    except InputError as e:
        found, said = None, str(e)
        assert said.strip(), what
        assert '\n' not in said.strip(), (what, said)
        assert len(said) < 1500, (what, said)
    except Exception as e:
        raise AssertionError(f'{type(e).__name__}: {e}, of {str(what)[:2000]}') from e
    assert time.monotonic() - start < SLOWEST, what
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < LARGEST, what
    return found


# Tables


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


# Models


def model_folder(folder, guided):
    """A small model, and the images that it denoises."""
    name = 'guided' if guided else 'residual'
    card = {
        'network': {'name': name, 'options': {**networks.defaults(name), 'width': 4}}, 'box': 32, 'pixel_size': 4.0,
        'ctf': 'none', 'input': {'mean': 0.0, 'sd': 1.0}, 'grey': {'gain': 1.0, 'offset': 0.0},
        'units': {'scale': 1.0, 'offset': 0.0}, 'settings': {}, 'data': {}, 'metrics': {}, 'versions': {},
        'target': 'references', 'cross_fit': {'mode': 'none'}, 'resolution': {'cut': 20.0, 'frc_limit': 0.5},
        'uncertainty': {'scale': 1.0}, 'shown': {'variance': 0.5, 'error': 0.5},
    }  # fmt: skip
    prior = None
    if guided:
        volume = torch.as_tensor(claw(2)[0].volume(32), dtype=torch.float32)
        options = MapPriorOptions(shift_range=1.0, shift_sd=1.0)
        prior = MapPrior(TemplateLibrary.from_maps([volume], 60), 1.0, torch.ones(16), Search(candidates=8), options)
        fitting = {'match': [1.0, 2.0], 'misfit': [0.0, 1.0], 'levels': list(np.linspace(-1, 3, 19)), 'tail': 1.0,
                   'particles': 100}  # fmt: skip
        prior.threshold = {'evidence': 5.0, 'belonging': fitting}
        card['noise_in'] = {'thresholds': {'all': 5.0}, 'belonging': {'all': fitting}}
    else:
        card['whitening'] = {'gains': [1.0] * 24}
    torch.manual_seed(0)
    generator = networks.create(name, 32, **card['network']['options']).generator
    save_model(folder, card, {'all': generator}, {'all': ['1@a.mrcs']}, guides={'all': prior})
    return folder / 'card.json'


def entries(value, place=()):
    """Places of all entries of a JSON value."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in list(children)[:30]:
        yield (*place, key)
        yield from entries(child, (*place, key))


@pytest.mark.parametrize('guided', [False, True])
def test_model_cards(tmp_path, guided, one_thread):
    """Every image that a tampered model gives is finite, or is refused when it is written."""
    path = model_folder(tmp_path / 'model', guided)
    good = json.loads(path.read_text())
    # Whoever tampers can leave it out.
    del good['checksum']
    places, images = list(entries(good)), np.random.default_rng(0).normal(size=(2, 32, 32)).astype(np.float32)
    for rng in attempts('card'):
        card = copy.deepcopy(good)
        *above, last = rng.choice(places)
        parent = card
        for key in above:
            parent = parent[key]
        if rng.random() < 0.2:
            del parent[last]
        else:
            parent[last] = copy.deepcopy(rng.choice(VALUES))
        path.write_text(json.dumps(card))
        what = ((*above, last), parent[last] if isinstance(parent, dict) and last in parent else 'removed')

        def read():
            model = Model.load(path.parent)
            opinion = model.ask(images, Context(4.0))
            if opinion is not None:
                model.belonging('all').fit(*np.zeros((3, 2)))
            return model.denoise(images, opinion=opinion)

        found = outcome(read, what)
        assert found is None or found.shape == images.shape, what
        assert found is None or np.isfinite(found).all(), what
