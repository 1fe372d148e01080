"""A guided network from pairs to denoised particles, through the verbs."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from cryoemgan.engine.__main__ import run
from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.errors import InputError
from cryoemgan.engine.imaging.steerable import FourierPlane
from cryoemgan.engine.inference.model import Model
from cryoemgan.engine.posterior import dataset
from cryoemgan.engine.posterior.asked import reserve
from cryoemgan.engine.posterior.guided_pairs import GuidedPairs
from cryoemgan.engine.posterior.map_prior import Context, MapPrior
from cryoemgan.engine.settings.denoise import Denoise
from cryoemgan.engine.settings.train import Train
from cryoemgan.engine.tests import toypairs
from cryoemgan.engine.training.interfaces import TrainingPairs
from cryoemgan.engine.training.loading import read
from cryoemgan.engine.training.pairs import ReferencePairs

pytestmark = pytest.mark.slow

GUIDED = dict(network='guided', iterations=4, evaluations=2, batch_size=8, threads=1, precision='float32')


@pytest.fixture(scope='module')
def toys(tmp_path_factory):
    particles, references = toypairs.pairs(tmp_path_factory.mktemp('toys'), count=60, noise=0.5)
    return dict(particles=str(particles), references=str(references))


def test_opinions_have_their_space_before_the_first_is_written(tmp_path):
    """A memory map is a sparse file: on a full disk the process would die of a bus error hours later."""
    path = tmp_path / 'opinions.npy'
    np.lib.format.open_memmap(path, 'w+', np.float16, (64, 2, 64, 64)).flush()
    assert 512 * path.stat().st_blocks < 2**19
    reserve(path)
    assert 512 * path.stat().st_blocks >= path.stat().st_size > 2**20
    assert not np.load(path, mmap_mode='r').any()


def test_train_and_denoise_end_to_end(tmp_path, toys):
    run('train', Train(output=str(tmp_path / 't'), cross_fit='none', **GUIDED, **toys))
    model = Model.load(tmp_path / 't' / 'model')
    assert 'cryoemganFit' in model.card['statement']
    assert list(model.members) == ['main']
    settings = Denoise(output=str(tmp_path / 'd'), particles=toys['particles'], model=str(model.folder), cut='none')
    run('denoise', settings)
    table = ParticleTable.read(tmp_path / 'd' / 'denoised.star')
    truth = toypairs.GAIN * toypairs.blobs(60, 32, 0)[0] + toypairs.OFFSET
    found = table.images().read(np.arange(60))
    again = model.ask(ParticleTable.read(toys['particles']).images().read(np.arange(60)), Context(3.0))
    np.testing.assert_allclose(table.floats('cryoemganEvidence'), again.evidence.numpy(), rtol=1e-3, atol=1e-2)
    # What was written is what the bank shows, not the safe answer of a network that was never asked.
    correlation = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(found, truth)]
    assert np.median(correlation) > 0.5


def test_opinions_go_with_the_end_of_a_training_and_are_asked_for_again_to_go_on(tmp_path, toys, monkeypatch, capsys):
    seen, forget = [], dataset.forget

    def forget_and_note(folder):
        seen.append((np.load(folder / dataset.OPINIONS), load_file(folder / dataset.BANK)))
        forget(folder)

    monkeypatch.setattr(dataset, 'forget', forget_and_note)
    for iterations in (4, 6):
        settings = {**GUIDED, **toys, 'iterations': iterations, 'resume': iterations == 6}
        found = run('train', Train(output=str(tmp_path / 't'), cross_fit='none', **settings))
        assert found['iterations'] == iterations
        assert not (tmp_path / 't' / dataset.OPINIONS).exists()
    assert 'keeps no opinions' in capsys.readouterr().out
    (first, guide), (again, guide_again) = seen
    np.testing.assert_array_equal(again, first)
    for name, tensor in guide.items():
        torch.testing.assert_close(guide_again[name], tensor, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize('other', [{'fresh_fraction': 0.5}, {'exchange_noise': 0.5}])
def test_what_a_guided_network_cannot_do_is_refused(tmp_path, toys, other):
    with pytest.raises(InputError, match='guided'):
        run('train', Train(output=str(tmp_path / 't'), **{**GUIDED, **toys, **other}))


def test_table_is_parsed_once_for_all_chunks(toys, monkeypatch):
    """Parsed for every 64 particles anew, the table of 80,000 took eleven minutes."""
    pairs = ReferencePairs(ParticleTable.read(toys['particles']), ParticleTable.read(toys['references']))
    pairs.fit_grey_scale()
    prior = SimpleNamespace(noise=None)
    guided = GuidedPairs(pairs, prior, None, 1, np.arange(len(pairs)))
    parsed, of = [], Context.of
    monkeypatch.setattr(Context, 'of', lambda *a: parsed.append(1) or of(*a))
    for positions in np.array_split(np.arange(len(pairs)), 5):
        assert guided.context(positions).pixel_size == pairs.pixel_size
    assert len(parsed) == 1


def guided_pairs(toys, folder, count=40):
    """GuidedPairs of ``count`` of the toys with opinions that tell who is who, and a prior of white noise."""
    pairs = ReferencePairs(ParticleTable.read(toys['particles']), ParticleTable.read(toys['references']))
    pairs.fit_grey_scale()
    bank = SimpleNamespace(background=0.25, plane=FourierPlane(pairs.box))
    prior = MapPrior(bank, pairs.scale.gain, torch.full((pairs.box // 2,), 4.0))
    guided = GuidedPairs(pairs, prior, folder / 'opinions.npy', 1, np.arange(count))
    number = np.arange(len(guided.wanted), dtype=np.float16)
    np.save(folder / 'opinions.npy', np.broadcast_to(number[:, None, None, None], (len(number), 2, 32, 32)))
    present, scores = torch.from_numpy(number.astype(np.float32)), torch.zeros(len(number), 5)
    guided.recall({'present': present, 'scores': scores})
    return guided


def test_a_guided_pair_is_the_same_wherever_it_stands(toys, tmp_path):
    guided = guided_pairs(toys, tmp_path)
    positions = np.append(np.arange(40), guided.empty)
    together = read(guided, positions)
    mixed = np.random.default_rng(0).permutation(positions)
    back = read(guided, mixed)
    assert together.noisy.shape == (48, 4, 32, 32)
    at = np.searchsorted(positions, mixed)
    torch.testing.assert_close(back.noisy, together.noisy[at], rtol=0, atol=0)
    torch.testing.assert_close(back.clean, together.clean[at], rtol=0, atol=0)
    gathered = tuple(torch.from_numpy(x) for x in guided.gather(mixed))
    unsorted, clean = guided.assemble(gathered, mixed)
    torch.testing.assert_close(unsorted, back.noisy, rtol=0, atol=1e-6)
    torch.testing.assert_close(clean, back.clean, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(together.noisy[:, 3, 0, 0], np.arange(48))
    # Particles as without a map; empty ones are noise of the spectrum on the grey of an empty image.
    torch.testing.assert_close(together.noisy[:40, :1], read(guided.pairs, np.arange(40)).noisy)
    scale, empty = guided.pairs.scale, together.noisy[40:, 0]
    grey = empty * scale.sd + scale.mean
    assert float(grey.std()) == pytest.approx(2.0, rel=0.05)
    assert float(grey.mean()) == pytest.approx(0.25 * scale.gain + scale.offset, abs=0.1)
    assert together.clean[40:].unique().numel() == 1


def test_guided_pairs_are_assembled_without_waiting_for_the_device(toys, tmp_path):
    """On torch's meta device, whose tensors have no numbers."""
    guided, meta = guided_pairs(toys, tmp_path), torch.device('meta')
    positions = np.append(guided.empty[::-1], np.arange(9))
    gathered = tuple(torch.from_numpy(x).to(meta) for x in guided.gather(positions))
    noisy, clean = guided.assemble(gathered, positions)
    assert (noisy.device, noisy.shape, clean.shape) == (meta, (17, 4, 32, 32), (17, 1, 32, 32))


def test_guided_pairs_answer_all_that_training_asks(toys, tmp_path):
    guided = guided_pairs(toys, tmp_path)
    asked = {name for name in vars(TrainingPairs) if not name.startswith('_')}
    assert asked
    assert {name for name in asked if not hasattr(guided, name)} == set()
