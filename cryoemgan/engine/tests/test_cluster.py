"""Clustering against planted clusters, and a claw in three states seen from everywhere."""

import csv
import json
import shutil

import mrcfile
import numpy as np
import pytest
import torch
from scipy.sparse.csgraph import connected_components
from scipy.spatial.transform import Rotation
from sklearn.neighbors import kneighbors_graph

from cryoemgan.engine.__main__ import run
from cryoemgan.engine.clustering import embedding as clustering
from cryoemgan.engine.clustering.averages import class_averages
from cryoemgan.engine.clustering.scale_and_shift import ScaleAndShift
from cryoemgan.engine.clustering.variability import Modes, Slices
from cryoemgan.engine.data.matching import match
from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.engine.errors import InputError
from cryoemgan.engine.geometry import random_matrices
from cryoemgan.engine.imaging.phantom import claw
from cryoemgan.engine.settings import Cluster, Simulate


def blobs(count, distance, seed=0):
    """Three clouds of unit s.d. in five dimensions, ``distance`` apart; (features, truth)."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, count)
    return rng.normal(size=(count, 5)) + distance * np.eye(5)[truth], truth


@pytest.mark.parametrize('embedding', ['pca', 'isomap', 'spectral', 'mds', 'tsne'])
def test_separate_clouds_are_found(embedding):
    features, truth = blobs(150, 12)
    found = clustering.learn(features, embedding, clusters=3)
    _, labels = found.place(features)
    assert clustering.agreement(truth, labels)['adjusted_rand_index'] == 1
    assert sorted(np.unique(labels)) == [1, 2, 3]


def test_number_of_clusters_by_silhouette():
    found = clustering.learn(blobs(150, 12)[0], clusters='auto')
    assert len(found.means.cluster_centers_) == 3
    assert max(found.silhouettes, key=found.silhouettes.get) == 3


def test_graph_in_pieces_is_joined():
    features = np.concatenate([blobs(40, 0)[0], blobs(40, 0, 1)[0] + 500])
    assert connected_components(kneighbors_graph(features, 5), directed=False)[0] == 2
    used = clustering.connected_neighbours(features, 5)
    assert connected_components(kneighbors_graph(features, used), directed=False)[0] == 1
    assert used > 39
    # Of 41 points each, 41 neighbours join the pieces and 40 do not: the spectral embedding must take as many as were
    # checked. Scikit-learn warns of a graph in pieces, and embed makes that an error.
    features = np.concatenate([blobs(41, 0)[0], blobs(41, 0, 1)[0] + 500])
    assert np.isfinite(clustering.embed(features, 'spectral', 2, 5)[0]).all()


def test_others_are_placed_among_the_landmarks():
    features, truth = blobs(600, 10)
    found = clustering.learn(features[:200], 'isomap', clusters=3)
    points, labels = found.place(features)
    # A landmark stays where it was; a stranger goes to the cluster of its kind.
    assert np.abs(points[:200] - found.points).max() < 1e-3 * np.abs(found.points).max()
    assert clustering.agreement(truth, labels)['accuracy'] > 0.99


def test_particles_are_weighed_by_what_they_say():
    """Two points, particles of very different precision: k-means on the posterior means takes weak ones for a third
    place; by likelihood the strong are right and the centres are where they were planted."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 4000)
    where = np.array([-1.0, 3.0])[truth]
    precision = np.exp(rng.uniform(np.log(0.05), np.log(20), 4000))
    towards = precision * where + np.sqrt(precision) * rng.normal(size=4000)
    # As the verb begins: k-means of posterior means under a prior of unit variance.
    means = (towards / (precision + 1))[:, None]
    start = clustering.learn(means, clusters=2).place(means)[1]
    sorted_ = clustering.Weighted(towards[:, None], precision[:, None, None], start)
    assert np.sort(sorted_.centres[:, 0]) == pytest.approx([-1, 3], abs=0.15)
    found = clustering.agreement(truth, sorted_(towards[:, None], precision[:, None, None]))
    assert found['accuracy'] > clustering.agreement(truth, start)['accuracy'] + 0.01
    # The best there is: the planted centres.
    best = (towards * 4 - precision * (9 - 1) / 2 > 0).astype(int)
    assert found['accuracy'] > (best == truth).mean() - 0.01


def test_volumes_are_cut_to_the_particle(claws):
    """The mask holds most of the map (blobs have long tails) and little of the box: it lies on the particle."""
    table = ParticleTable.read(claws / 'clean.star')
    slices = Slices(table.box, 7)
    coefficients = slices.of(table.images().read(np.arange(300)), table.shifts()[:300])
    batch = (coefficients, torch.as_tensor(table.rotations()[:300], dtype=torch.float32), None)
    modes = Modes(slices, 1).learn([batch], rounds=14)
    mask = modes._mask.numpy()
    truth = np.mean([mrcfile.read(claws / f'volume_{i}.mrc') for i in (1, 2, 3)], axis=0)
    size, box = mask.shape[0], table.box
    # Voxel v of the map lies at size // 2 + (v - box // 2) * size / (2 box) of the mask: the grid holds two boxes.
    at = np.clip(np.round(size // 2 + (np.arange(box) - box // 2) * size / (2 * box)).astype(int), 0, size - 1)
    inside = mask[np.ix_(at, at, at)] > 0.5
    assert truth[inside].sum() > 0.85 * truth.sum()
    assert inside.mean() < 0.35


def test_shift_left_to_a_particle_is_taken_out():
    """The oracle is the phantom's exact projection at the true centre; its shifts are those of a RELION table."""
    rng, state, matrices = np.random.default_rng(0), claw(2)[0], random_matrices(200, 1)
    shifts = 0.6 * rng.normal(size=(200, 2))
    slices = Slices(32, 8)
    centred, moved = (slices.of(state.project(32, matrices, s), np.zeros((200, 2))) for s in (None, shifts))
    noise = float(centred.abs().square().mean().sqrt()) * 0.2
    noisy = moved + noise * torch.view_as_complex(torch.randn(*moved.shape, 2, generator=torch.manual_seed(0)))
    levelling = ScaleAndShift(slices)
    levelling.fit([(noisy, centred)])
    assert levelling.shift_variance**0.5 == pytest.approx(0.6, rel=0.1)
    left = (levelling(noisy, centred) - centred).abs().square().mean()
    floor, before = (noisy - moved).abs().square().mean(), (noisy - centred).abs().square().mean()
    assert before > 1.2 * floor
    assert left < floor + 0.1 * (before - floor)
    # Where nothing is shifted nothing is moved.
    levelling.fit([(noisy - moved + centred, centred)])
    assert levelling.shift_variance**0.5 < 0.1


def test_agreement_ignores_names_and_knows_chance():
    truth = np.repeat([4, 7, 9], 40)
    renamed = np.repeat([2, 1, 3], 40)
    perfect = clustering.agreement(truth, renamed)
    assert perfect['accuracy'] == 1
    assert perfect['adjusted_rand_index'] == 1
    random = clustering.agreement(truth, np.random.default_rng(0).permutation(renamed))
    assert abs(random['accuracy'] - random['chance_accuracy']) < 4 * random['chance_sd']
    assert abs(random['adjusted_rand_index']) < 0.05


def test_in_plane_alignment_makes_turned_copies_alike():
    """One view turned by up to 20 degrees: features agree to a fiftieth of what they differ by without alignment."""
    turns = np.random.default_rng(0).uniform(-20, 20, 40)
    images = claw(1)[0].project(48, Rotation.from_euler('z', turns, degrees=True).as_matrix())
    images /= images.std()
    with_alignment = clustering.AlignedImages(48, 45.0).learn(images)
    without = clustering.AlignedImages(48, 0).learn(images)
    assert with_alignment.std(0).max() < without.std(0).max() / 10


@pytest.fixture(scope='module')
def claws(tmp_path_factory):
    folder = tmp_path_factory.mktemp('claws') / 'set'
    settings = Simulate(
        output=str(folder), phantom=3, box=32, count=250, snr=1.0, shift_sd=1.0, ctf=True, pixel_size=6.0
    )
    settings.validate()
    run('simulate', settings)
    return folder


def cluster(folder, **options):
    settings = Cluster(output=str(folder), threads=1, **options)
    settings.validate()
    run('cluster', settings)
    return json.loads((folder / 'summary.json').read_text())


def test_three_states_at_random_views(claws, tmp_path):
    """Noise, CTF, shifts, uniformly random views, and a third of the particles outside the landmarks."""
    summary = cluster(tmp_path / 'v', particles=str(claws / 'noisy.star'), clusters='3', truth='rlnClassNumber',
                      landmarks=500, detail=7, source=str(claws / 'clean.star'))  # fmt: skip
    assert summary['compare'] == 'variability'
    assert summary['adjusted_rand_index'] > 0.6
    assert summary['chance_accuracy'] < 0.4
    assert 'number of the class' in (tmp_path / 'v' / 'gallery.html').read_text(encoding='utf-8')
    source, found = (ParticleTable.read(p) for p in (claws / 'noisy.star', tmp_path / 'v' / 'clusters.star'))
    assert (match(source, found)[1] == np.arange(750)).all()
    assert np.array_equal(found.images().read([5, 700]), source.images().read([5, 700]))
    with open(tmp_path / 'v' / 'embedding.csv', newline='', encoding='utf-8') as file:
        rows = list(csv.DictReader(file))
    assert [int(r['cluster']) for r in rows] == found.ints('rlnClassNumber').tolist()
    assert [int(r['truth']) for r in rows] == source.ints('rlnClassNumber').tolist()
    # Averages are of the images of --source.
    labels = found.ints('rlnClassNumber')
    averages = class_averages(ParticleTable.read(claws / 'clean.star'), labels)[1]
    with mrcfile.open(tmp_path / 'v' / 'averages.mrcs') as mrc:
        np.testing.assert_allclose(mrc.data, averages, atol=1e-6)
    assert summary['members'] == {str(k): int((labels == k).sum()) for k in (1, 2, 3)}


def test_three_states_with_the_shifts_of_a_refinement(claws, tmp_path):
    """Off centre by 0.7 px: before it was taken out, the mode that was found was the shift."""
    table = ParticleTable.read(claws / 'noisy.star')
    moved = table.shifts() + 0.7 * np.random.default_rng(5).normal(size=(len(table), 2))
    for axis, values in zip('XY', moved.T):
        table.set(f'rlnOrigin{axis}Angst', values * table.pixel_size)
    table.write(claws / 'moved.star')
    summary = cluster(tmp_path / 'v', particles=str(claws / 'moved.star'), clusters='3', truth='rlnClassNumber',
                      detail=7)  # fmt: skip
    assert summary['adjusted_rand_index'] > 0.85


def test_each_particle_on_a_grey_scale_of_its_own(claws, tmp_path):
    """Contrast and offset of a particle say nothing of its state: images scaled one by one are sorted as well."""
    rng = np.random.default_rng(0)
    for name in ('noisy.star', 'noisy.mrcs'):
        shutil.copy(claws / name, tmp_path / name)
    with mrcfile.open(tmp_path / 'noisy.mrcs', mode='r+') as mrc:
        mrc.data[:] = mrc.data * rng.uniform(0.5, 1.5, (750, 1, 1)) + 5 * rng.normal(size=(750, 1, 1))
    summary = cluster(tmp_path / 'v', particles=str(tmp_path / 'noisy.star'), clusters='3', truth='rlnClassNumber',
                      detail=7)  # fmt: skip
    assert summary['adjusted_rand_index'] > 0.6


def test_images_alone_are_chance_at_random_views(claws, tmp_path):
    summary = cluster(tmp_path / 'i', particles=str(claws / 'clean.star'), clusters='3', truth='rlnClassNumber',
                      compare='images')  # fmt: skip
    assert summary['adjusted_rand_index'] < 0.2


@pytest.mark.parametrize(
    ('options', 'message'),
    [({'clusters': '1'}, '--clusters'), ({'clusters': 'many'}, '--clusters'), ({'truth': 'rlnNothing'}, 'rlnNothing'),
     ({'embedding': 'tsne', 'dimensions': 5}, '--dimensions')],
)  # fmt: skip
def test_wrong_input(claws, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        cluster(tmp_path / 'x', particles=str(claws / 'noisy.star'), **options)
    assert not (tmp_path / 'x').exists()
