"""Random numbers as pure functions of the seed: a stream for each purpose."""

import numpy as np

# Each purpose draws from its own stream, so that changing one option does not reshuffle the others.
_STREAMS = (
    'split',
    'order',
    'augmentation',
    'contamination',
    'weights',
    'noise',
    'checks',
    'folds',
    'fresh',
    'projections',
    'background',
    'blind spots',
    'penalty',
    'empty',
    'stand-ins',
    'templates',
    'recorruption',
    'wrong pairs',
)


def generator(seed: int, purpose: str, *key: int) -> np.random.Generator:
    """numpy Generator for one purpose and key (epoch, iteration, particle ...)."""
    return np.random.default_rng([seed, _STREAMS.index(purpose), *key])
