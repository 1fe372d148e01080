"""Options of the adversary and of the losses: a part of ``train``'s."""

from dataclasses import dataclass
from typing import ClassVar

from .base import option


@dataclass
class Adversary:
    """Options of the adversary and of the losses."""

    GROUP: ClassVar[str] = 'Adversary and losses'

    gan: str = option(
        None,
        'none: a plain autoencoder, with the lowest mean squared error for its cost.\n'
        'beta: an adversary with the (alpha, beta) scoring rules, the most tolerant of wrong references.\n'
        'wgan-gp: Wasserstein distance with gradient penalty. With an adversary each step costs several times more.',
        choices=('none', 'beta', 'wgan-gp'),
        label='Adversary',
    )
    alpha: float = option(
        None,
        'Alpha of the scoring rule; the cost of false positives grows as t^alpha. (0, 0) is cross entropy, (1, 1)'
        " the Brier score, (-0.5, -0.5) boosting. The paper's proof of robustness needs |alpha - beta| < 1.",
        ge=-1,
        le=1,
        label='Alpha',
    )
    beta: float = option(None, 'Beta of the scoring rule; see alpha.', ge=-1, le=1, label='Beta')
    p: int = option(
        None,
        'Exponent of the reconstruction loss |output - reference|^p. 1 tolerates wrong references and poses. 2 '
        'has a slightly lower error if the references are right, and a much higher one if many are wrong.',
        ge=1,
        le=2,
        label='Reconstruction norm p',
    )
    reconstruction_weight: float = option(
        None,
        'Weight lambda of the reconstruction loss (a mean over pixels) relative to the adversary. 0 trains a pure'
        ' GAN, which oscillates. With the literal WGAN-GP critic the right weight grows with the box; with '
        '--critic-scale box it does not.',
        ge=0,
        label='Reconstruction weight',
    )
    gradient_penalty: float = option(
        None, 'Weight mu of the WGAN-GP penalty mu (|grad D| - 1)^2.', ge=0, expert=True, label='Gradient penalty'
    )
    critic_scale: str = option(
        None,
        'How the slope of a WGAN-GP critic is measured.\n'
        'literal: as the 2-norm over all pixels, as printed in the paper; the critic then weighs more in larger '
        'boxes.\n'
        'box: as the root mean square over pixels, which makes its weight independent of the box.',
        choices=('literal', 'box'),
        expert=True,
        label='Critic weight',
    )
    patch_reduction: str = option(
        None,
        "How the discriminator's scores of the patches of an image are combined.\n"
        'mean: independent of the box.\n'
        "sum: as in the authors' scripts; the adversary then weighs more in larger boxes.",
        choices=('mean', 'sum'),
        expert=True,
        label='Patch scores',
    )
    discriminator_steps: int = option(
        None, 'Discriminator steps k_d per iteration.', ge=1, le=100, expert=True, label='Discriminator steps'
    )
    generator_steps: int = option(
        None,
        'Generator steps k_g per iteration, each on a new batch.',
        ge=1,
        le=100,
        expert=True,
        label='Generator steps',
    )
