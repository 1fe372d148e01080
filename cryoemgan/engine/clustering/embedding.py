"""Features of particles -> an embedding -> clusters, and how good they are where the truth is known.

Embedding and clusters are learned from landmarks; other particles are placed among them (memory stays bounded).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from scipy.sparse.csgraph import connected_components
from scipy.special import logsumexp
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.manifold import MDS, TSNE, Isomap, SpectralEmbedding
from sklearn.metrics import adjusted_rand_score, silhouette_score
from sklearn.neighbors import NearestNeighbors, kneighbors_graph

from ..errors import InputError
from ..imaging.fourierbessel import FourierBessel
from ..shapes import Floats, Images, Tensor

# Five neighbours, nearer ones weighing more, place a particle among the landmarks.
PLACED_BY = 5
LARGEST_AUTO = 8


@dataclass
class Clustering:
    """What was learned from landmarks: their features, points, the k-means, and how the graph and k were chosen."""

    features: np.ndarray
    points: np.ndarray
    means: KMeans
    neighbours: int | None
    silhouettes: dict

    def place(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points [n, d] and clusters [n] (from 1) of particles, landmarks or not, by their features [n, f]."""
        count = min(PLACED_BY, len(self.features))
        distance, near = NearestNeighbors(n_neighbors=count).fit(self.features).kneighbors(features)
        # A landmark lies on itself: its own weight must win over all others.
        weight = 1 / np.maximum(distance, 1e-9 * (1 + np.abs(self.features).max())) ** 2
        points = (self.points[near] * (weight / weight.sum(1, keepdims=True))[..., None]).sum(1)
        return points, self.means.predict(points.astype(self.means.cluster_centers_.dtype)) + 1


def learn(
    features: np.ndarray,
    embedding: str = 'pca',
    dimensions: int = 2,
    clusters: int | str = 'auto',
    neighbours: int = 10,
    seed: int = 0,
) -> Clustering:
    """Clustering of landmarks by their features float [n, f].

    embedding: pca, isomap, spectral, mds, tsne. clusters: a number, or 'auto' for the largest mean silhouette of 2 to
    8. InputError when there are too few landmarks.
    """
    features = np.asarray(features, np.float64)
    if len(features) < 10:
        raise InputError(f'{len(features)} particles are too few to cluster; 10 are the least')
    points, used = embed(features, embedding, dimensions, neighbours, seed)
    means, scores = _means(points, clusters, seed)
    return Clustering(features, points, _in_order(means, points), used, scores)


class Weighted:
    """Clusters as points of latent space; every particle belongs to the likeliest, by its own precision.

    Mixture of points under log p(particle i | z) = h_i z - z L_i z / 2, by expectation maximisation. What k-means takes
    for a distance is here counted in the noise of that particle: one that shows the motion from the side says more.
    """

    def __init__(self, towards: np.ndarray, precision: np.ndarray, labels: np.ndarray, rounds: int = 200) -> None:
        """towards h [n, c], precision L [n, c, c]; labels: int [n] from 1, where to begin."""
        h, precision = np.asarray(towards, np.float64), np.asarray(precision, np.float64)
        member = np.eye(labels.max())[labels - 1]
        for _ in range(rounds):
            self.share = member.mean(0) + 1e-12
            total = np.einsum('nk,ncd->kcd', member, precision) + 1e-6 * precision.mean(0).trace() * np.eye(h.shape[1])
            self.centres = np.linalg.solve(total, (member.T @ h)[..., None])[..., 0]
            score = self._score(h, precision)
            before, member = member, np.exp(score - logsumexp(score, axis=1, keepdims=True))
            if np.abs(member - before).max() < 1e-4:
                break

    def __call__(self, towards: np.ndarray, precision: np.ndarray) -> np.ndarray:
        """Clusters int [n], from 1."""
        return self._score(np.asarray(towards, np.float64), np.asarray(precision, np.float64)).argmax(1) + 1

    def _score(self, h: Floats, precision: np.ndarray) -> Floats:
        return (
            h @ self.centres.T
            - np.einsum('kc,ncd,kd->nk', self.centres, precision, self.centres) / 2
            + np.log(self.share)
        )


def embed(
    features: np.ndarray, embedding: str, dimensions: int, neighbours: int = 10, seed: int = 0
) -> tuple[np.ndarray, int | None]:
    """Points [n, dimensions] and the number of neighbours of the graph (None without one)."""
    dimensions = min(dimensions, features.shape[1]) if embedding == 'pca' else dimensions
    if embedding == 'pca':
        return PCA(dimensions, svd_solver='full').fit_transform(features), None
    if embedding == 'mds':
        return MDS(dimensions, n_init=2, random_state=seed, init='random').fit_transform(features), None
    if embedding == 'tsne':
        perplexity = min(30, (len(features) - 1) / 3)
        return TSNE(dimensions, perplexity=perplexity, random_state=seed).fit_transform(features).astype(float), None
    neighbours = connected_neighbours(features, neighbours)
    if embedding == 'isomap':
        return Isomap(n_neighbors=neighbours, n_components=dimensions).fit_transform(features), neighbours
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        # Scikit-learn counts each point among its own neighbours here, and nowhere else.
        own = neighbours + 1
        method = SpectralEmbedding(dimensions, n_neighbors=own, random_state=seed, affinity='nearest_neighbors')
        return method.fit_transform(features), neighbours


def connected_neighbours(features: np.ndarray, least: int) -> int:
    """The smallest number of neighbours >= least (in steps of a quarter) whose graph is in one piece.

    Embeddings of a graph in pieces are arbitrary, and pieces appear exactly when clusters separate well.
    """
    neighbours = min(least, len(features) - 1)
    while True:
        graph = kneighbors_graph(features, neighbours)
        if neighbours == len(features) - 1 or connected_components(graph, directed=False)[0] == 1:
            return neighbours
        neighbours = min(len(features) - 1, neighbours + max(1, neighbours // 4))


def _means(points: np.ndarray, clusters: int | str, seed: int) -> tuple[KMeans, dict[int, float]]:
    if clusters != 'auto':
        return KMeans(clusters, n_init=20, random_state=seed).fit(points), {}
    found = {
        k: KMeans(k, n_init=10, random_state=seed).fit(points) for k in range(2, min(LARGEST_AUTO, len(points) - 1) + 1)
    }
    scores = {k: float(silhouette_score(points, m.labels_)) for k, m in found.items()}
    return found[max(scores, key=lambda k: scores[k])], scores


def _in_order(means: KMeans, points: np.ndarray) -> KMeans:
    """Clusters numbered along the first axis of the embedding: the same numbers whatever the start of k-means."""
    means.cluster_centers_ = np.ascontiguousarray(means.cluster_centers_[np.argsort(means.cluster_centers_[:, 0])])
    return means


def agreement(truth: np.ndarray, found: np.ndarray, seed: int = 0) -> dict[str, float]:
    """Accuracy under the best one-to-one naming of clusters, adjusted Rand index, and the accuracy of chance.

    Chance: the same clusters dealt to particles at random (mean and s.d. of 200).
    """
    rng = np.random.default_rng(seed)
    chance = [_accuracy(truth, rng.permutation(found)) for _ in range(200)]
    return {
        'accuracy': _accuracy(truth, found),
        'adjusted_rand_index': float(adjusted_rand_score(truth, found)),
        'chance_accuracy': float(np.mean(chance)),
        'chance_sd': float(np.std(chance)),
    }


def _accuracy(truth: np.ndarray, found: np.ndarray) -> float:
    names_a, a = np.unique(truth, return_inverse=True)
    names_b, b = np.unique(found, return_inverse=True)
    table = np.zeros((len(names_a), len(names_b)))
    np.add.at(table, (a, b), 1)
    return float(table[linear_sum_assignment(-table)].sum() / len(a))


class AlignedImages:
    """Features of images turned in their planes to fit a common mean; for particles seen from one side.

    A rotation multiplies Fourier-Bessel coefficients by a phase, so all angles are tried by one Fourier transform.
    """

    def __init__(self, box: int, largest_angle: float, step: float = 1.0) -> None:
        self.basis = FourierBessel(box)
        self.angles = np.deg2rad(np.arange(-largest_angle, largest_angle + step / 2, step)) if largest_angle else None
        self.mean: torch.Tensor = torch.zeros(0)
        self.pca = PCA(svd_solver='full')

    def learn(self, images: Images, rounds: int = 6, components: int = 30) -> np.ndarray:
        """Align landmarks [n, box, box] to their running mean and find their principal components; features [n, c]."""
        coefficients = self._expand(images)
        for _ in range(rounds):
            self.mean = coefficients.mean(0)
            coefficients = self._turn(coefficients)
        flat = self._flat(coefficients)
        self.pca = PCA(min(components, len(flat) - 1), svd_solver='full').fit(flat)
        return self.pca.transform(flat)

    def __call__(self, images: Images) -> np.ndarray:
        """Features of more images, in the frame of the landmarks."""
        return self.pca.transform(self._flat(self._turn(self._expand(images))))

    def _expand(self, images: Images) -> Tensor:
        """complex64 [n, pairs]: coefficients for k >= 0, and the k of each."""
        given = self.basis.expand(images)
        self.k = torch.cat([torch.full((c.shape[2],), float(k)) for k, c in enumerate(given)])
        return torch.cat([torch.complex(c[:, 0], c[:, -1] if k else c[:, 0] * 0) for k, c in enumerate(given)], 1)

    def _turn(self, coefficients: Tensor) -> Tensor:
        if self.angles is None:
            return coefficients
        phases = torch.polar(torch.ones(()), torch.from_numpy(self.angles).float()[:, None] * self.k)
        fit = (coefficients * self.mean.conj()) @ phases.T
        best = fit.real.argmax(1)
        return coefficients * phases[best]

    @staticmethod
    def _flat(coefficients: Tensor) -> np.ndarray:
        return torch.view_as_real(coefficients).flatten(1).numpy().astype(np.float64)
