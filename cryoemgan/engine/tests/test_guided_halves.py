"""Guided networks through the verbs: each member has its own half map, and answers for the other half's particles."""

import json
import shutil

import numpy as np
import pytest
import torch

from cryoemgan.engine.__main__ import run
from cryoemgan.engine.data.stack_writer import StackWriter
from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.errors import InputError
from cryoemgan.engine.geometry import angles_between, euler_to_matrix, random_matrices
from cryoemgan.engine.imaging.maps import read_map, write_map
from cryoemgan.engine.imaging.projection import FourierProjector
from cryoemgan.engine.inference.model import Model
from cryoemgan.engine.metrics import resemblance
from cryoemgan.engine.posterior.map_prior import Context
from cryoemgan.engine.posterior.pose_columns import LABELS, numbers_of
from cryoemgan.engine.settings.audit import Audit
from cryoemgan.engine.settings.denoise import Denoise
from cryoemgan.engine.settings.project import Project
from cryoemgan.engine.settings.simulate import Simulate
from cryoemgan.engine.settings.train import Train
from cryoemgan.engine.trust import negative_controls

pytestmark = pytest.mark.slow

BOX = 32
FEW = dict(network='guided', batch_size=8, evaluations=1, bank_size=120, candidates=16, threads=1, precision='float32')


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """Particles of a claw with CTF and half sets; two very different "half maps", to see which one a member has."""
    folder = tmp_path_factory.mktemp('guided')
    run('simulate', Simulate(output=str(folder / 's'), phantom=2, count=40, box=BOX, snr=1.0, ctf=True, threads=1))
    particles = folder / 's' / 'noisy.star'
    maps = {f'half{k}': str(folder / 's' / f'volume_{k}.mrc') for k in (1, 2)}
    run('project', Project(output=str(folder / 'p'), particles=str(particles), threads=1, lowpass=30.0, **maps))
    return dict(particles=str(particles), references=str(folder / 'p' / 'references.star'), folder=folder)


def train(folder, data, **options):
    given = dict(FEW, particles=data['particles'], references=data['references'], force=True, iterations=4, **options)
    run('train', Train(output=str(folder), **given))
    return Model.load(folder / 'model')


@pytest.fixture(scope='module')
def model(data):
    return train(data['folder'] / 't', data)


def likeness(bank, volume):
    """Mean correlation of templates with the best of many projections of a map."""
    projector = FourierProjector(read_map(volume).data)
    views = projector.project(random_matrices(1500, 0)).numpy()
    templates = bank.plane.images(bank.basis.synthesise(bank.coefficients[:40])).numpy()
    return resemblance.nearest(templates, views).mean()


def test_each_member_has_the_bank_of_its_own_half_map(model, data):
    """As project filtered it: the maps beside the references, not those of the user."""
    assert list(model.guides) == ['half1', 'half2']
    for k in (1, 2):
        own, other = (
            likeness(model.guides[f'half{k}'].bank, data['folder'] / 'p' / f'map_half{i}.mrc') for i in (k, 3 - k)
        )
        assert own > other + 0.01


def test_particles_are_judged_by_the_member_that_never_saw_them(model, data, tmp_path):
    run('denoise', Denoise(output=str(tmp_path / 'd'), particles=data['particles'], model=str(model.folder), threads=1))
    table, found = ParticleTable.read(data['particles']), ParticleTable.read(tmp_path / 'd' / 'denoised.star')
    halves, rows = table.half_sets(), np.arange(len(table))
    context, images = Context.of(table, rows, BOX), table.images().read(rows)
    asked = {k: model.posterior(images, context, f'half{k}') for k in (1, 2)}
    evidence = {k: asked[k].evidence.numpy() for k in (1, 2)}
    wanted = np.where(halves == 1, evidence[2], evidence[1])
    np.testing.assert_allclose(found.floats('cryoemganEvidence'), wanted, rtol=1e-2, atol=0.1)
    assert not np.allclose(evidence[1], evidence[2], rtol=1e-2, atol=0.1)
    assert found.provenance['leakage'] == '0'
    # The poses of the same members, beside the refinement's, which stay.
    pose = euler_to_matrix(*(found.floats(f'cryoemganAngle{a}') for a in ('Rot', 'Tilt', 'Psi')))
    away = angles_between(pose, table.rotations())
    np.testing.assert_array_equal(found.rotations(), table.rotations())
    poses = {k: numbers_of(asked[k], table.pixel_size) for k in (1, 2)}
    columns = np.column_stack([found.floats(label) for label in LABELS])
    # A few with two explanations may change from one to the other.
    wrong = np.abs(columns - np.where(halves[:, None] == 1, poses[2], poses[1])).max(1) > 0.5
    assert wrong.mean() < 0.05
    told = json.loads((tmp_path / 'd' / 'summary.json').read_text())['pose_agreement']
    assert told['angle_median'] == pytest.approx(np.median(away), abs=1e-3)
    # The bank's own s.d. counts: two members that agree by chance are not certain.
    assert (found.floats('cryoemganUncertainty') > 0.02).all()


def test_evidence_sorts_out_junk(model, data, tmp_path):
    """Planted: every second particle is replaced by noise of the same variance."""
    table = ParticleTable.read(data['particles'])
    images = table.images().read(np.arange(len(table)))
    junk = np.arange(len(table)) % 2 == 1
    noise = np.random.default_rng(5).normal(images.mean(), images.std(), images.shape).astype(np.float32)
    with StackWriter(tmp_path / 'mixed.mrcs', len(table), BOX, table.pixel_size) as stack:
        stack.append(np.where(junk[:, None, None], noise, images))
    mixed = table.derive('mixed.mrcs')
    mixed.write(tmp_path / 'mixed.star')
    settings = dict(particles=str(tmp_path / 'mixed.star'), model=str(model.folder), threads=1)
    run('denoise', Denoise(output=str(tmp_path / 'd'), **settings))
    evidence = ParticleTable.read(tmp_path / 'd' / 'denoised.star').floats('cryoemganEvidence')
    assert resemblance.separation(evidence[~junk], evidence[junk]) > 0.98
    found = json.loads((tmp_path / 'd' / 'summary.json').read_text())
    assert found['below_threshold'] == pytest.approx(0.5, abs=0.1)
    assert 'less evidence' in ' '.join(found['warnings'])


def test_particles_of_another_molecule_are_told_by_what_the_map_leaves(model, data, tmp_path):
    """Planted: projections of blobs that are not the claw, with the same noise; their evidence is high all the same."""
    table = ParticleTable.read(data['particles'])
    images = table.images().read(np.arange(len(table)))
    clean = ParticleTable.read(data['folder'] / 's' / 'clean.star').images().read(np.arange(len(table)))
    rng = np.random.default_rng(6)
    foreign = negative_controls.like(negative_controls.foreign_projections(len(table), BOX, rng), clean) - clean.mean()
    with StackWriter(tmp_path / 'foreign.mrcs', len(table), BOX, table.pixel_size) as stack:
        stack.append((images - clean + foreign).astype(np.float32))
    table.derive('foreign.mrcs').write(tmp_path / 'foreign.star')
    found = {}
    for name, path in (('own', data['particles']), ('foreign', tmp_path / 'foreign.star')):
        settings = dict(particles=str(path), model=str(model.folder), threads=1)
        run('denoise', Denoise(output=str(tmp_path / name), **settings))
        summary = json.loads((tmp_path / name / 'summary.json').read_text())
        warned = any('cryoemganFit' in w for w in summary['warnings'])
        found[name] = ParticleTable.read(tmp_path / name / 'denoised.star').floats('cryoemganFit'), warned
    assert resemblance.separation(found['own'][0], found['foreign'][0]) > 0.95
    # Half of its own particles show the state of the other half map, which a fold model does not know.
    assert (found['foreign'][0] < 0.05).mean() > 0.7 > 0.25 > (found['own'][0] < 0.05).mean()
    assert found['foreign'][1]
    assert 'have a fit to the map' in summary['fit']


def test_card_says_what_noise_becomes(model):
    found = model.card['noise_in']
    assert found['false_acceptance'] <= 0.1
    assert found['nearest_noise'] < found['nearest_particles']
    assert 0 <= found['energy'] < 0.5
    # Not of its own training particles, whose noise is in its map.
    assert model.evidence_threshold('half1') == found['thresholds']['half1']


def test_audit_takes_a_guided_model(model, data, tmp_path):
    settings = dict(particles=data['particles'], references=data['references'], model=str(model.folder), threads=1)
    run('audit', Audit(output=str(tmp_path / 'a'), sample=40, pictures=2, **settings))
    found = json.loads((tmp_path / 'a' / 'audit.json').read_text())
    assert found['leakage'] == 0
    # The guide was asked about the noise itself: it did not answer with the particles.
    assert found['noise_in']['energy'] < 0.5
    assert found['judged']['noise'] > 0.9


def test_opinions_are_kept_for_a_longer_run(data, model, tmp_path, monkeypatch):
    folder = tmp_path / 't'
    shutil.copytree(data['folder'] / 't', folder)
    monkeypatch.setattr('cryoemgan.engine.posterior.dataset.calibrate', lambda *a: pytest.fail('calibrated anew'))
    again = train_longer(folder, data)
    for name, guide in model.guides.items():
        torch.testing.assert_close(again.guides[name].spectrum, guide.spectrum)
        assert again.guides[name].threshold == guide.threshold


def train_longer(folder, data):
    given = dict(FEW, particles=data['particles'], references=data['references'], force=True, iterations=6, resume=True)
    run('train', Train(output=str(folder), **given))
    return Model.load(folder / 'model')


@pytest.mark.parametrize('scale', ['none', 'unit'])
def test_bank_of_maps_has_the_grey_scale_of_the_references(tmp_path, scale):
    """Particles simulated in another grey scale than their map: as a whole, or each image in [0, 1] after the paper."""
    run('simulate', Simulate(output=str(tmp_path / 's'), phantom=1, count=60, box=BOX, snr=2.0, scale=scale, threads=1))
    table, volume = ParticleTable.read(tmp_path / 's' / 'clean.star'), tmp_path / 's' / 'volume_1.mrc'
    if scale == 'none':
        read = read_map(volume)
        write_map(tmp_path / 'v.mrc', 7.0 * read.data, read.pixel_size)
        volume = tmp_path / 'v.mrc'
    given = dict(FEW, bank_size=400, iterations=1, cross_fit='none', volume=[str(volume)])
    paths = dict(particles=str(tmp_path / 's' / 'noisy.star'), references=str(table.path))
    run('train', Train(output=str(tmp_path / 't'), **given, **paths))
    guide = Model.load(tmp_path / 't' / 'model').guides['main']
    truth = torch.from_numpy(table.images().read(np.arange(60)))
    found = guide(torch.from_numpy(ParticleTable.read(paths['particles']).images().read(np.arange(60))), Context(3.0))
    assert float((found.mean - truth).square().mean() / truth.var()) < 0.1


def test_references_with_ctf_and_without_their_maps_are_refused(data, tmp_path):
    shutil.copytree(data['folder'] / 'p', tmp_path / 'p')
    (tmp_path / 'p' / 'map_half1.mrc').unlink()
    given = dict(data, references=str(tmp_path / 'p' / 'references.star'))
    with pytest.raises(InputError, match='not beside them'):
        train(tmp_path / 't', given)


def test_maps_of_another_folder_are_noticed(data, tmp_path):
    shutil.copytree(data['folder'] / 'p', tmp_path / 'p')
    wrong = np.random.default_rng(0).normal(size=(BOX,) * 3)
    for k in (1, 2):
        write_map(
            tmp_path / 'p' / f'map_half{k}.mrc', wrong, read_map(data['folder'] / 'p' / 'map_half1.mrc').pixel_size
        )
    with pytest.raises(InputError, match='is not what the run of'):
        train(tmp_path / 't', dict(data, references=str(tmp_path / 'p' / 'references.star')))


def test_model_of_an_earlier_version_is_refused(model, tmp_path):
    """Without the particles' scores nobody can say which particle belongs to the map."""
    shutil.copytree(model.folder, tmp_path / 'm')
    card = json.loads((tmp_path / 'm' / 'card.json').read_text())
    del card['noise_in']['belonging'], card['checksum']
    for member in card['members']:
        del member['guide']['threshold']['belonging']
    (tmp_path / 'm' / 'card.json').write_text(json.dumps(card))
    with pytest.raises(InputError, match='earlier version'):
        Model.load(tmp_path / 'm').belonging('half1')
