"""Model cards that somebody tampered with are refused in one sentence, or give finite images."""

import copy
import json

import numpy as np
import pytest
import torch

from cryoemgan.engine import networks
from cryoemgan.engine.imaging.phantom import claw
from cryoemgan.engine.inference.model import Model
from cryoemgan.engine.inference.model_writer import save_model
from cryoemgan.engine.posterior.library import TemplateLibrary
from cryoemgan.engine.posterior.map_prior import Context, MapPrior, MapPriorOptions
from cryoemgan.engine.posterior.posterior import Search
from cryoemgan.engine.tests.fuzzing import VALUES, attempts, outcome


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
            known = model.ask(images, Context(4.0)) if model.takes_context else None
            if model.guides:
                model.belonging('all').fit(*np.zeros((3, 2)))
            return model.denoise(images, opinion=known)

        found = outcome(read, what)
        assert found is None or found.shape == images.shape, what
        assert found is None or np.isfinite(found).all(), what
