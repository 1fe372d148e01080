"""Parameters of ``cluster``."""

from __future__ import annotations

from dataclasses import dataclass

from .base import Settings, batches, option
from .reading import Reading


@dataclass
class Cluster(Reading, Settings):
    """Sort particles, denoised or not, into conformations."""

    particles: str = option(None, 'Particles (STAR), denoised or not.', required=True, path=True, label='Particles')
    source: str | None = option(
        None,
        'The original particles, when those to cluster are denoised (STAR): the averages of the classes are made of '
        'them, so that what they show was not painted by a network.',
        path=True,
        label='Original particles',
    )
    compare: str = option(
        'auto',
        'variability: place each particle along the main modes of change of the 3D map, which are found together '
        'with the map from all views. Needs the angles of a refinement.\n'
        'images: compare the images themselves after in-plane alignment, as in the paper. Only for particles that'
        ' are all seen from one side; otherwise differences of view outweigh those of conformation.\n'
        'auto: variability if there are angles.',
        choices=('auto', 'variability', 'images'),
        label='Compare',
    )
    embedding: str = option(
        'auto',
        'How the features of a particle become a point in the plot.\n'
        'pca: principal components.\n'
        'isomap, spectral, mds, tsne: manifold methods.\n'
        'auto: pca for variability, isomap for images.',
        choices=('auto', 'pca', 'isomap', 'spectral', 'mds', 'tsne'),
        label='Embedding',
    )
    dimensions: int = option(
        2, 'Number of dimensions of the embedding. t-SNE takes 2 or 3.', ge=1, le=20, label='Dimensions'
    )
    clusters: str = option(
        'auto',
        'Number of conformations, 2 or more, or auto: the number from 2 to 8 with the largest mean silhouette. A '
        'continuous motion has no right number.',
        label='Clusters',
    )
    components: int = option(
        1,
        'Number of modes of 3D variability. One follows one motion; take more if several parts move independently.',
        ge=1,
        le=10,
        expert=True,
        label='Modes',
    )
    detail: int = option(
        10,
        'Finest detail that is used, in Fourier rings: ring r is a resolution of box times pixel size / r. Large '
        'motions need few rings; more rings add noise.',
        ge=4,
        le=64,
        expert=True,
        label='Fourier rings',
    )
    align: float = option(
        25.0,
        'For images: turn each image in its plane by up to this angle to fit the mean image. 0: do not turn.',
        unit='deg',
        ge=0,
        le=180,
        expert=True,
        label='In-plane alignment',
    )
    neighbours: int = option(
        10,
        'For isomap and spectral: number of nearest neighbours that make the graph. It is raised until the graph '
        'is connected.',
        ge=2,
        le=200,
        expert=True,
        label='Neighbours',
    )
    landmarks: int = option(
        2000,
        'Number of particles, drawn at random, from which modes, embedding and clusters are learnt. The others '
        'are placed among them, which limits the memory needed.',
        ge=20,
        le=50_000,
        expert=True,
        label='Landmarks',
    )
    truth: str | None = option(
        None,
        'Column of --particles with the true conformation (rlnClassNumber of a simulation). Accuracy, adjusted '
        'Rand index and the level of chance are then reported.',
        label='Truth column',
        expert=True,
    )
    batch_size: int = batches(256, 'Number of images read at a time.')
