"""The model folder: what is saved is what is loaded, and nothing hostile or damaged is."""

import json
import pickle
import resource
import struct
import time
import zipfile

import numpy as np
import pytest
import torch

from cryoemgan.engine import networks
from cryoemgan.engine.errors import InputError
from cryoemgan.engine.inference.known_particles import name_hashes
from cryoemgan.engine.inference.model import Model
from cryoemgan.engine.inference.model_writer import save_model

NAMES = [f'{i}@stack.mrcs' for i in range(1, 31)]


def card(box=32, **changes):
    return {
        'network': {'name': 'residual', 'options': {'width': 8}}, 'box': box, 'pixel_size': 4.0, 'ctf': 'full',
        'input': {'mean': 2.0, 'sd': 3.0}, 'grey': {'gain': 0.5, 'offset': 7.0},
        'units': {'scale': 4.0, 'offset': -1.0}, 'settings': {}, 'data': {}, 'metrics': {}, 'versions': {}, **changes,
    }  # fmt: skip


def trained(box=32, width=8):
    """A generator with random weights and batch statistics."""
    torch.manual_seed(1)
    generator = networks.create('residual', box, width=width).generator
    for _ in range(3):
        generator(torch.randn(8, 1, box, box))
    return generator


@pytest.fixture
def folder(tmp_path):
    save_model(tmp_path / 'model', card(), {'all': trained()}, {'all': NAMES})
    return tmp_path / 'model'


def rewrite(folder, **changes):
    """Another card, of somebody who leaves out its checksum."""
    path = folder / 'card.json'
    path.write_text(json.dumps({**json.loads(path.read_text()), 'checksum': None, **changes}))


def weights(folder):
    return folder / json.loads((folder / 'card.json').read_text())['members'][0]['weights']


def forge(folder, data):
    """Other content under the weights' name, with a card that vouches for it."""
    import hashlib

    weights(folder).write_bytes(data)
    members = json.loads((folder / 'card.json').read_text())['members']
    members[0]['sha256'] = hashlib.sha256(data).hexdigest()
    rewrite(folder, members=members)


def test_same_images_after_loading_in_the_particles_grey_values(folder):
    particles = np.random.default_rng(0).normal(2, 3, (5, 32, 32)).astype(np.float32)
    generator = trained().eval()
    with torch.no_grad():
        units = generator(torch.from_numpy((particles - 2) / 3)[:, None])[:, 0].numpy()
    start = time.process_time()
    model = Model.load(folder)
    assert time.process_time() - start < 2
    denoised = model.denoise(particles)
    assert denoised.dtype == np.float32
    np.testing.assert_allclose(denoised, 0.5 * (4 * units - 1) + 7, rtol=1e-4, atol=1e-4)


def test_result_does_not_depend_on_the_batch(folder):
    particles = np.random.default_rng(0).normal(2, 3, (7, 32, 32)).astype(np.float32)
    model = Model.load(folder)
    together = model.denoise(particles)
    alone = np.concatenate([model.denoise(p[None]) for p in particles])
    np.testing.assert_allclose(together, alone, atol=1e-5 * together.std(), rtol=1e-5)


def test_bfloat16_is_close(folder):
    particles = np.random.default_rng(0).normal(2, 3, (5, 32, 32)).astype(np.float32)
    model = Model.load(folder)
    exact, fast = model.denoise(particles), model.denoise(particles, precision='bfloat16')
    assert np.abs(exact - fast).max() > 0
    assert np.std(exact - fast) < 0.02 * np.std(exact)


def test_several_members_and_what_they_saw(tmp_path):
    halves = {'half1': trained(), 'half2': networks.create('residual', 32, width=8).generator}
    save_model(tmp_path / 'm', card(), halves, {'half1': NAMES[:20], 'half2': NAMES[10:]})
    model = Model.load(tmp_path / 'm')
    seen = model.trained_on(['5@stack.mrcs', '15@stack.mrcs', '25@stack.mrcs', '5@other.mrcs'])
    assert seen['half1'].tolist() == [True, True, False, False]
    assert seen['half2'].tolist() == [False, True, True, False]
    image = np.ones((1, 32, 32), np.float32)
    assert not np.allclose(model.denoise(image, 'half1'), model.denoise(image, 'half2'))


def test_hashes_are_64_bits_of_blake2b():
    # hashlib.blake2b(b'1@stack.mrcs', digest_size=8), little-endian: the format must not change.
    import hashlib

    expected = int.from_bytes(hashlib.blake2b(b'1@stack.mrcs', digest_size=8).digest(), 'little', signed=True)
    assert name_hashes(['1@stack.mrcs']).tolist() == [expected]
    assert len(np.unique(name_hashes(NAMES))) == len(NAMES)


def test_replaced_in_place_without_leftovers(folder):
    old = weights(folder)
    other = networks.create('residual', 32, width=8).generator
    save_model(folder, card(), {'all': other}, {'all': NAMES})
    assert not old.exists()
    assert len(list(folder.iterdir())) == 3
    Model.load(folder)


def test_interrupted_replacement_leaves_the_old_model(folder, monkeypatch):
    before = Model.load(folder)
    monkeypatch.setattr(
        'cryoemgan.engine.inference.model_writer.write_state', lambda *_: (_ for _ in ()).throw(OSError('killed'))
    )
    with pytest.raises(OSError, match='killed'):
        save_model(folder, card(), {'all': networks.create('residual', 32, width=8).generator}, {'all': NAMES})
    assert Model.load(folder).digest == before.digest


def test_full_disk_leaves_the_old_model(folder):
    """safetensors has an error of its own for it. A limit on the size of files stands for the full disk."""
    before, limits = {p.name: p.read_bytes() for p in folder.iterdir()}, resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**14, limits[1]))
    try:
        with pytest.raises(OSError, match='too large') as error:
            save_model(folder, card(), {'all': trained()}, {'all': NAMES})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert str(folder) in error.value.filename
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


def test_diverged_weights_are_refused(tmp_path):
    generator = trained()
    next(generator.parameters()).data[0] = float('nan')
    save_model(tmp_path / 'm', card(), {'all': generator}, {'all': NAMES})
    with pytest.raises(InputError, match='NaN'):
        Model.load(tmp_path / 'm')


@pytest.mark.parametrize('name', networks.names())
def test_every_network_survives_the_folder(tmp_path, name):
    generator = networks.create(name, 64, width=2).generator
    entry = {'name': name, 'options': {'width': 2}}
    save_model(tmp_path / 'm', card(64, network=entry), {'all': generator}, {'all': NAMES})
    image = np.random.default_rng(0).normal(2, 3, (1, 64, 64)).astype(np.float32)
    assert np.isfinite(Model.load(tmp_path / 'm').denoise(image)).all()


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ('code in a model file was executed',))


def as_zip(folder):
    path = folder / 'x.zip'
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('archive/data.pkl', pickle.dumps(Bomb()))
    return path.read_bytes()


HOSTILE = {
    'pickle': (lambda f: forge(f, pickle.dumps(Bomb())), 'pickle'),
    'torch zip': (lambda f: forge(f, as_zip(f)), 'pickle'),
    'absurd header': (lambda f: forge(f, struct.pack('<Q', 2**62) + b'{}'), 'not a readable safetensors'),
    'header beyond file': (lambda f: forge(f, struct.pack('<Q', 5000) + b'{}'), 'not a readable safetensors'),
    'empty weights': (lambda f: forge(f, b''), 'not a readable safetensors'),
    'truncated': (lambda f: weights(f).write_bytes(weights(f).read_bytes()[:-9]), 'damaged'),
    'bit flip': (lambda f: weights(f).write_bytes(weights(f).read_bytes()[:-1] + b'\x01'), 'damaged'),
    'huge file': (lambda f: weights(f).open('r+b').truncate(2**34), 'bytes'),
    'missing weights': (lambda f: weights(f).unlink(), 'missing'),
    'other shape': (lambda f: rewrite(f, network={'name': 'residual', 'options': {'width': 6}}), 'bytes|needs'),
    'wider': (lambda f: rewrite(f, network={'name': 'residual', 'options': {'width': 16}}), 'needs'),
    'absurd width': (lambda f: rewrite(f, network={'name': 'paper256', 'options': {'width': 4096}}), 'needs'),
    'other network': (lambda f: rewrite(f, network={'name': 'plain', 'options': {'width': 8}}), 'needs'),
    'unknown network': (lambda f: rewrite(f, network={'name': 'os.system', 'options': {}}), "'os.system' is unknown"),
    'unknown option': (lambda f: rewrite(f, network={'name': 'residual', 'options': {'x': 1}}), 'no option'),
    'unknown version': (lambda f: rewrite(f, version=2), 'format version 2'),
    'unknown format': (lambda f: rewrite(f, format='other'), 'not the card'),
    'odd box': (lambda f: rewrite(f, box=33), 'box'),
    'absurd box': (lambda f: rewrite(f, box=10**9), 'box'),
    'text for number': (lambda f: rewrite(f, pixel_size='4'), 'pixel_size must be float'),
    'truth for number': (lambda f: rewrite(f, box=True), 'box must be int'),
    'negative pixel': (lambda f: rewrite(f, pixel_size=-1.0), 'pixel_size'),
    'zero sd': (lambda f: rewrite(f, input={'mean': 0, 'sd': 0}), 'input'),
    'nan grey': (lambda f: rewrite(f, grey={'gain': float('nan'), 'offset': 0}), 'grey.gain'),
    'no members': (lambda f: rewrite(f, members=[]), 'members'),
    'member a text': (lambda f: rewrite(f, members=['all']), 'members'),
    'not json': (lambda f: (f / 'card.json').write_text('{'), 'not valid JSON'),
    'nested json': (lambda f: (f / 'card.json').write_text('[' * 10**5), 'not valid JSON'),
    'a list': (lambda f: (f / 'card.json').write_text('[]'), 'not the card'),
    'no card': (lambda f: (f / 'card.json').unlink(), 'no card.json'),
}


@pytest.mark.parametrize('case', HOSTILE)
def test_hostile_or_damaged_folders_are_refused(folder, case):
    spoil, message = HOSTILE[case]
    spoil(folder)
    with pytest.raises(InputError, match=message):
        Model.load(folder)


@pytest.mark.parametrize('key', [*card(), 'format', 'version', 'members', 'licence', 'statement'])
def test_missing_entries_are_named(folder, key):
    path = folder / 'card.json'
    data = json.loads(path.read_text())
    del data[key]
    path.write_text(json.dumps(data))
    with pytest.raises(InputError, match='not the card' if key == 'format' else key):
        Model.load(folder)


@pytest.mark.parametrize('name', ['../x.safetensors', '/etc/passwd', 'weights.pt', 'model.pkl', '.safetensors'])
def test_weights_are_files_of_the_folder(folder, name):
    members = json.loads((folder / 'card.json').read_text())['members']
    members[0]['weights'] = name
    rewrite(folder, members=members)
    with pytest.raises(InputError, match='not the name of a .safetensors file'):
        Model.load(folder)


def test_a_file_is_not_a_model(tmp_path):
    path = tmp_path / 'model.pt'
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(InputError, match='pickle'):
        Model.load(path)
