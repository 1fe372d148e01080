"""Parameters of ``cluster``."""

from dataclasses import dataclass

from .base import Settings, option
from .reading import Reading


@dataclass
class Cluster(Reading, Settings):
    """Sort particles, denoised or not, into conformations."""

    particles: str = option(None, 'Particles (STAR), denoised or not.', required=True, path=True, label='Particles')
    compare: str = option(
        'auto',
        'variability: where each particle lies along the main modes of change of the 3D map, '
        'found together with the map from all views (needs the angles of a refinement); works at any '
        'view. images: the images themselves, after in-plane alignment, as in the paper: only for '
        'particles seen from one side, elsewhere view outweighs conformation and the result is '
        'chance. auto: variability when there are angles.',
        choices=('auto', 'variability', 'images'),
        label='Compare',
    )
    embedding: str = option(
        'auto',
        'How features become points of a plane. pca: the strongest components. isomap, '
        'spectral, mds, tsne: manifold methods of scikit-learn. auto: pca of variability, isomap of '
        'images.',
        choices=('auto', 'pca', 'isomap', 'spectral', 'mds', 'tsne'),
        label='Embedding',
    )
    dimensions: int = option(2, 'Dimensions of the embedding. t-SNE takes 2 or 3.', ge=1, le=20, label='Dimensions')
    clusters: str = option(
        'auto',
        'Number of conformations, 2 or more; auto: that of 2 to 8 with the largest mean '
        'silhouette. Continuous motion has no right number.',
        label='Clusters',
    )
    components: int = option(
        1,
        'Modes of 3D variability. One follows one motion; take more when several parts move. More than are needed '
        'cost time only.',
        ge=1,
        le=10,
        expert=True,
        label='Modes',
    )
    detail: int = option(
        10,
        'Finest detail looked at, in Fourier rings: 10 is box * pixel size / 10. Large motions '
        'need few, and noise grows with their square.',
        ge=4,
        le=64,
        expert=True,
        label='Rings',
    )
    align: float = option(
        25.0,
        'images: turn each in its plane by up to this angle to fit the mean. 0: not at all.',
        unit='deg',
        ge=0,
        le=180,
        expert=True,
        label='In-plane alignment',
    )
    neighbours: int = option(
        10,
        'isomap and spectral: nearest neighbours that make the graph; raised until the graph is connected.',
        ge=2,
        le=200,
        expert=True,
        label='Neighbours',
    )
    landmarks: int = option(
        2000,
        'Particles, drawn at random, from which modes, embedding and clusters are learned; '
        'the others are placed by them, which keeps memory bounded.',
        ge=20,
        le=50_000,
        expert=True,
        label='Landmarks',
    )
    truth: str | None = option(
        None,
        'Column of --particles with the true conformation (rlnClassNumber of a '
        'simulation): accuracy, adjusted Rand index and chance go to the summary.',
        label='Truth column',
        expert=True,
    )
    batch_size: int = option(256, 'Images read together.', ge=1, le=8192, expert=True, label='Batch size')
