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
        'Adversary. none: plain autoencoder, the lowest mean squared error for its cost; beta: the (alpha, beta) '
        'scoring rules, which suffer least from wrong references, at several times the cost of a step; wgan-gp: '
        'Wasserstein with gradient penalty, dearer still.',
        choices=('none', 'beta', 'wgan-gp'),
        label='Adversary',
    )
    alpha: float = option(
        None,
        'alpha of the scoring rule, cost of false positives ~ t^alpha. (0,0) is cross '
        'entropy, (1,1) Brier, (-0.5,-0.5) boosting. The paper proves robustness only for '
        '|alpha - beta| < 1: (0.5,0.5) qualifies, (1,-1) and (0.5,-0.5) do not.',
        ge=-1,
        le=1,
        label='Alpha',
    )
    beta: float = option(None, 'beta of the scoring rule; see alpha.', ge=-1, le=1, label='Beta')
    p: int = option(
        None,
        'Reconstruction loss |output - reference|^p. 1 resists wrong references and poses; 2 has a slightly lower '
        'error when references are right, and a much higher one when many are wrong.',
        ge=1,
        le=2,
        label='Reconstruction norm p',
    )
    reconstruction_weight: float = option(
        None,
        'Weight lambda of the reconstruction term (a mean over pixels) beside the adversary. 0 trains a pure GAN, '
        'which oscillates. The literal WGAN-GP critic grows with the box and needs a weight of hundreds to '
        'balance it; with '
        '--critic-scale box 10 does.',
        ge=0,
        label='Reconstruction weight',
    )
    gradient_penalty: float = option(
        None, 'Weight mu of the WGAN-GP penalty mu (|grad D| - 1)^2.', ge=0, expert=True, label='Gradient penalty'
    )
    critic_scale: str = option(
        None,
        'What slope one of a WGAN critic refers to. literal: the 2-norm over pixels, as printed: its pull '
        'against lambda times l1 is sqrt(pixels)/lambda, 6 at 64 px and 13 at 128 px for lambda 10; box: the root mean '
        'square over pixels, so that the pull is 1/lambda at every box. Ignored without wgan-gp.',
        choices=('literal', 'box'),
        expert=True,
        label='Critic weight',
    )
    patch_reduction: str = option(
        None,
        "How the discriminator's patch scores of an image are combined. mean: independent of the box; sum: as "
        "in the authors' scripts (13 x 13 patches at 128 px make the adversary 169 times stronger).",
        choices=('mean', 'sum'),
        expert=True,
        label='Patch scores',
    )
    discriminator_steps: int = option(
        None, 'Discriminator steps k_d in an iteration.', ge=1, le=100, expert=True, label='Discriminator steps'
    )
    generator_steps: int = option(
        None,
        'Generator steps k_g in an iteration, each on a fresh batch.',
        ge=1,
        le=100,
        expert=True,
        label='Generator steps',
    )
