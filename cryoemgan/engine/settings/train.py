"""Parameters of ``train``, and the presets that fill those the user leaves open."""

import json
from dataclasses import dataclass, fields
from pathlib import Path

from ..errors import InputError
from .base import Settings, flag, option
from .guided import POSE_PRIOR, degrees
from .networks import NETWORKS

PRESETS = Path(__file__).resolve().parent.parent / 'presets'
LENGTHS = ('epochs', 'iterations', 'minutes')


# Options that compare with references, and what they may be where there are none.
WITHOUT_REFERENCES = {
    'gan': ('none',),
    'p': (2,),
    'contaminate': ('none',),
    'exchange_noise': (0,),
    'fresh_fraction': (0,),
    'noise_curriculum': (0,),
    'volume': ([],),
    'invert_contrast': (False,),
}


def preset_values(name, network=None, target='references'):
    """Values of a preset (name -> value) for a network, default its own; pure data, one JSON file each.

    Also read by the Scipion form. The entry ``networks`` of a file holds what is different for some networks,
    ``without_references`` what is different when there are none.
    """
    values = json.loads((PRESETS / f'{name}.json').read_text(encoding='utf-8'))
    values.pop('about', None)
    schedules, alone = values.pop('networks', {}), values.pop('without_references', {})
    if target != 'references':
        values |= alone
    return {**values, **schedules.get(network or values['network'], {})}


@dataclass
class Train(Settings):
    """Train a denoiser on pairs (particle, reference)."""

    particles: str | None = option(None, 'Noisy particles (STAR).', required=True, path=True, label='Particles')
    target: str = option(
        'references',
        'What the network learns to give. references: projections of the map; shows most, and can show what only the '
        'map says. self: no map at all; each particle is predicted from its own other pixels (blind spots), '
        'after its noise, measured in the corners of the boxes, is made white. Assumes that the noise of different '
        'pixels is then independent. copies: no map; one noisy copy of each particle (--copies: e.g. from the other '
        'half of the frames) is predicted from the other. Assumes that the noise of the two is independent. Both keep '
        'the CTF, show less detail, and cannot have learnt anything from the map: a second opinion for audit.',
        choices=('references', 'self', 'copies'),
        label='Learn from',
    )
    references: str | None = option(
        None,
        'Reference projections of the same particles (STAR, from project). Matched by identity, never by row. Needed '
        'unless --target is self or copies.',
        path=True,
        label='References',
    )
    copies: str | None = option(
        None,
        'Second noisy copies of the particles (STAR), for --target copies: same alignment, scale and signal, noise of '
        'their own. Matched by identity. The model is one for the noise of a copy.',
        path=True,
        label='Second copies',
    )
    hidden_pixels: float = option(
        0.25,
        'Part of the pixels hidden in each image with --target self. More hidden pixels teach more in a step, but '
        'the network learns on less of each particle than it later sees.',
        gt=0,
        le=0.9,
        expert=True,
        label='Hidden pixels',
    )
    preset: str = option(
        'recommended',
        'Where every option left open gets its value. recommended: what reached the '
        'lowest validation error for its cost in our measurements; paper: the hyperparameters of the '
        "paper's text (its 128 px network, (0.5,0.5)-GAN + l1, batch 20, rates 1e-3 and 1e-2, no "
        'schedule), hours on a processor; authors: what their scripts do (patch scores summed, '
        'batch 10, no shuffling).',
        choices=('recommended', 'paper', 'authors'),
        label='Preset',
    )
    network: str | None = option(
        None,
        'Generator and discriminator. equivariant: sees the whole particle at all in-plane angles at once, 2.5 M '
        'weights, the lowest error for its time on particles within a few pixels of the centre; residual: strided '
        "convolutions with skips, 1.6 M; paper128: the paper's, 4.2 M, three times the cost of residual; basis: "
        'perceptron on the components of equivariant, 16 M; paper256: 79 M, for 256 px and a GPU; plain: convolutions '
        'only (appendix 5.3); pggan: grows from low resolution (appendix 5.4); guided: looks for the '
        'projections of the map that each particle resembles, and corrects their weighted mean. It adds what the map '
        'knows of the molecule to what little a noisy image tells. It cannot tell what the map does not hold, and '
        "draws the map's projections for junk and other molecules too: check the columns cryoemganEvidence and "
        'cryoemganMisfit.',
        choices=NETWORKS,
        label='Network',
    )
    gan: str | None = option(
        None,
        'Adversary. none: plain autoencoder, best mean squared error for its cost; beta: '
        'the (alpha, beta) scoring rules, keep their error when references are wrong (x 1.08 '
        'with 30 % noise references, l1 alone x 1.18, l2 x 2.9), three times the cost a step; '
        'wgan-gp: Wasserstein with gradient penalty, four times the cost, not robust.',
        choices=('none', 'beta', 'wgan-gp'),
        label='Adversary',
    )
    alpha: float | None = option(
        None,
        'alpha of the scoring rule, cost of false positives ~ t^alpha. (0,0) is cross '
        'entropy, (1,1) Brier, (-0.5,-0.5) boosting. The paper proves robustness only for '
        '|alpha - beta| < 1: (0.5,0.5) qualifies, (1,-1) and (0.5,-0.5) do not.',
        ge=-1,
        le=1,
        label='Alpha',
    )
    beta: float | None = option(None, 'beta of the scoring rule; see alpha.', ge=-1, le=1, label='Beta')
    p: int | None = option(
        None,
        'Reconstruction loss |output - reference|^p. 1 resists wrong references and poses; '
        '2 has 1-2 % lower error on clean ones but triples it when 30 % of them are wrong.',
        ge=1,
        le=2,
        label='Reconstruction norm p',
    )
    reconstruction_weight: float | None = option(
        None,
        'Weight lambda of the reconstruction term (a mean over pixels). At 10 the (0.5,0.5) adversary pulls with '
        '0.1-0.4 of its force at 64 px; 0 trains a pure GAN, which oscillates. With the literal WGAN-GP the critic '
        'grows with the box: 200-640 at 64 px, 400-1300 at 128 px balance it; with --critic-scale box 10 does.',
        ge=0,
        label='Reconstruction weight',
    )
    gradient_penalty: float | None = option(
        None, 'Weight mu of the WGAN-GP penalty mu (|grad D| - 1)^2.', ge=0, expert=True, label='Gradient penalty'
    )
    critic_scale: str | None = option(
        None,
        'What slope one of a WGAN critic refers to. literal: the 2-norm over pixels, as printed: its pull '
        'against lambda times l1 is sqrt(pixels)/lambda, 6 at 64 px and 13 at 128 px for lambda 10; box: the root mean '
        'square over pixels, so that the pull is 1/lambda at every box. Ignored without wgan-gp.',
        choices=('literal', 'box'),
        expert=True,
        label='Critic weight',
    )
    patch_reduction: str | None = option(
        None,
        "How the discriminator's patch scores of an image are combined. mean: independent of the box; sum: as "
        "in the authors' scripts (13 x 13 patches at 128 px make the adversary 169 times stronger).",
        choices=('mean', 'sum'),
        expert=True,
        label='Patch scores',
    )
    discriminator_steps: int | None = option(
        None, 'Discriminator steps k_d in an iteration.', ge=1, le=100, expert=True, label='Discriminator steps'
    )
    generator_steps: int | None = option(
        None,
        'Generator steps k_g in an iteration, each on a fresh batch.',
        ge=1,
        le=100,
        expert=True,
        label='Generator steps',
    )
    learning_rate_generator: float | None = option(
        None,
        "Adam's rate for the generator (highest value, when there is a schedule). Above 1e-2 training is "
        'unstable; below 3e-4 five minutes are too short.',
        gt=0,
        le=1,
        expert=True,
        label='Learning rate, generator',
    )
    learning_rate_discriminator: float | None = option(
        None, "Adam's rate for the discriminator.", gt=0, le=1, expert=True, label='Learning rate, discriminator'
    )
    adam_beta1: float | None = option(
        None, "Adam's first moment; 0 to 0.5 is usual for Wasserstein.", ge=0, lt=1, expert=True, label='Adam beta 1'
    )
    adam_beta2: float | None = option(None, "Adam's second moment.", ge=0, lt=1, expert=True, label='Adam beta 2')
    batch_size: int | None = option(
        None,
        'Pairs a step. Halved with a message when memory runs out. Batches of 64 '
        'and more need a higher learning rate for the same result.',
        ge=1,
        le=4096,
        label='Batch size',
    )
    epochs: int | None = option(
        None,
        'Length: passes over the training pairs. Give only one of --epochs, --iterations, --minutes.',
        ge=1,
        label='Epochs',
    )
    iterations: int | None = option(
        None, 'Length: iterations of k_d + k_g steps. The same on every machine.', ge=1, label='Iterations'
    )
    minutes: float | None = option(
        None,
        'Length: minutes of wall time for training, reading included. The schedule '
        'follows the clock, so two such runs differ slightly.',
        gt=0,
        label='Minutes',
    )
    schedule: str | None = option(
        None,
        'Learning rate over the run. cosine: short rise, then down to 0: worth 7 % of '
        'the error at equal cost; constant: as in the paper.',
        choices=('cosine', 'constant'),
        expert=True,
        label='Schedule',
    )
    warmup: float | None = option(
        None, 'Part of the run in which the cosine schedule rises from 0.', ge=0, le=0.5, expert=True, label='Warm-up'
    )
    ema: float | None = option(
        None,
        'Decay of the running average of the generator that becomes the model; 0 takes '
        'the last weights. 0.998 averages about 500 steps.',
        ge=0,
        lt=1,
        expert=True,
        label='Weight averaging',
    )
    clip: float | None = option(
        None,
        "Limit of the gradient's norm; 0 = none. Saves runs with outlier particles.",
        ge=0,
        expert=True,
        label='Gradient clipping',
    )
    shuffle: bool | None = option(
        None, "New order in every epoch; off only to repeat the authors' scripts.", expert=True, label='Shuffle'
    )
    turns: bool | None = option(
        None,
        'Show each pair in one of its 8 quarter turns and mirror images, about the '
        "particle's origin: worth 6 % of the error at 4,000 pairs, nothing lost.",
        expert=True,
        label='Turns and mirrors',
    )
    shift: int | None = option(
        None,
        'Move each pair by up to this many whole pixels in x and y, so that badly centred '
        'particles are denoised as well.',
        ge=0,
        le=64,
        unit='px',
        expert=True,
        label='Random shifts',
    )
    exchange_noise: float | None = option(
        None,
        'Part of the samples that get the noise of another particle (particle minus its fitted reference), '
        'turned and mirrored on its own. Multiplies small sets: every reference is seen under new measured noise. 0 '
        'trains on real pairs only.',
        ge=0,
        le=1,
        expert=True,
        label='Exchange noise',
    )
    volume: list[str] = option(
        [],
        'Map that the references were projected from; repeat for several (states, classes), which then count '
        'equally. With --fresh-fraction new projections of it are made during training, at random angles, with '
        'shifts and CTF of random particles: the cure for small sets and for overfitting to the refined angles. '
        'With --network guided the bank is made of its projections; without it, of those of the maps that project left '
        'beside the references (each member of its own half map), or else of references without CTF themselves.',
        path=True,
        label='Maps for fresh pairs or guide',
    )
    fresh_fraction: float | None = option(
        None,
        'Part of every batch made anew: references under Gaussian noise with the power spectrum of the data '
        '(measured on particle minus reference). With --volume new projections, each shown 4 times, else the '
        'references given. 0.5 mixes them with the real pairs; 1 never shows a real particle. An image of 64 px '
        'costs about 0.2 ms.',
        ge=0,
        le=1,
        label='Fresh pairs',
    )
    noise_particles: str | None = option(
        None,
        "Images of noise alone (STAR): boxes of background, or empty particles, in the particles' pixel size and in "
        'their box or a larger one. With --fresh-fraction the noise of fresh pairs is cut and turned out of them, '
        "scaled as a set to the strength of the particles' noise, in place of Gaussian noise: it brings what a "
        'spectrum does not tell, such as neighbours, carbon and ice.',
        path=True,
        label='Images of noise',
    )
    noise_curriculum: float | None = option(
        None,
        "Part of the run in which the s.d. of the noise rises from a quarter of the data's to all of it; 0 = off. "
        'For networks that see the whole particle (equivariant, basis), whose schedule in the preset has it: 0.45 took '
        '27 % off the error of a perceptron; convolutions gained nothing.',
        ge=0,
        le=0.9,
        label='Noise curriculum',
    )
    box: int | None = option(
        None,
        "Box to train at; default the particles'. Both sets are resampled in Fourier "
        'space, the field of view is kept. Half the box trains 4 times faster and keeps '
        'detail down to 4 old pixels.',
        ge=32,
        le=512,
        unit='px',
        label='Box',
    )
    cross_fit: str = option(
        'auto',
        'Members, each trained without a part of the particles, so that denoise never shows a network a particle '
        '(or a half map) that it has learnt. halves: one member for each half set of the refinement (the references '
        'should come from project --half1 --half2); folds: --folds members; auto: halves where the particles have '
        'them, else folds; none: one network for all, whose output on its own training particles repeats part of '
        'their noise. --minutes is shared among the members, --iterations and --epochs count for each: two members '
        'cost twice the iterations but the same epochs, since each has half of the pairs.',
        choices=('auto', 'none', 'halves', 'folds'),
        label='Cross-fitting',
    )
    folds: int = option(
        2,
        'Members of --cross-fit folds. More give each member more pairs ((K-1)/K of them) at K times the cost.',
        ge=2,
        le=20,
        expert=True,
        label='Folds',
    )
    min_agreement: float = option(
        4.0,
        'Leave out training pairs whose correlation (column cryoemganCorrelation of project) lies more than this many '
        'robust standard deviations below the median of the set: particles with wrong angles, junk. 0 keeps all.',
        ge=0,
        le=100,
        expert=True,
        label='Outlier limit of agreement',
    )
    precision: str = option(
        'auto',
        'Arithmetic of the networks. auto: bfloat16 where the processor has it (about '
        'half the time, same result within seeds), else float32. Losses and metrics are always '
        'float32.',
        choices=('auto', 'float32', 'bfloat16'),
        expert=True,
        label='Precision',
    )
    validation_fraction: float | None = option(
        None,
        'Part of the particles (of each member) kept out of training, chosen at random by the seed (not by '
        'micrograph), to choose the best checkpoint. At least 1; more than 2,000 are not used at each evaluation.',
        gt=0,
        le=0.5,
        expert=True,
        label='Validation fraction',
    )
    evaluations: int | None = option(
        None,
        'How often in the run the validation set is measured and a checkpoint '
        'saved. A killed run loses at most one such interval.',
        ge=1,
        le=10000,
        expert=True,
        label='Evaluations',
    )
    patience: int | None = option(
        None,
        'Stop after this many evaluations without improvement; 0 = never. With the '
        'cosine schedule the end of the run is its best part: leave 0.',
        ge=0,
        expert=True,
        label='Patience',
    )
    keep: int | None = option(
        None, 'Checkpoints kept: the best ones by validation error.', ge=1, le=50, expert=True, label='Checkpoints kept'
    )
    contaminate: str | None = option(
        None,
        'Robustness experiment (section 3.4 of the paper): replace a fixed random part of the training '
        'references, particles or both by noise. Off for real work.',
        choices=('none', 'references', 'particles', 'both'),
        expert=True,
        label='Contaminate',
    )
    contaminate_fraction: float | None = option(
        None,
        'Part of the training pairs replaced, the same in every epoch.',
        ge=0,
        le=1,
        expert=True,
        label='Contaminated fraction',
    )
    contaminate_noise: str | None = option(
        None,
        'Noise that replaces them: gaussian with the mean and s.d. of the set, or uniform over its range.',
        choices=('gaussian', 'uniform'),
        expert=True,
        label='Contaminating noise',
    )
    bank_size: int = option(
        8000,
        'Guided networks: templates (projections) in the bank; each stands for all its in-plane rotations. More tell '
        'finer differences of the view. Memory grows in proportion (6 kB each at 64 px), the time of a search more '
        'slowly: 4.4 ms a particle of 64 px with 2,000, 6.9 ms with 16,000 (8 and 27 ms where shifts of 4 px are '
        'looked for).',
        ge=2,
        le=1000000,
        expert=True,
        label='Templates',
    )
    candidates: int = option(
        48,
        'Guided networks: templates, turned and moved, that are weighed exactly for each particle, the best of the '
        'coarse search. Too few make the mean follow one of them; more take longer.',
        ge=4,
        le=1024,
        expert=True,
        label='Candidates',
    )
    contrast_spread: float = option(
        0.1,
        'Guided networks: relative s.d. of the contrast from particle to particle (ice, normalisation).',
        ge=0,
        le=1,
        expert=True,
        label='Contrast spread',
    )
    shift_range: float | None = option(
        None,
        'Guided networks: how far off centre particles are looked for; default what the shifts of 98 % of the '
        'particles in the table need, at most 6 px. Time grows with its square.',
        ge=0,
        le=32,
        unit='px',
        expert=True,
        label='Shift range',
    )
    pose_prior: str = option('none', 'Guided networks: ' + POSE_PRIOR, label='Pose prior')
    init: str | None = option(
        None,
        'Start from the weights of this model folder (train longer, or adapt it to new '
        'particles). The model itself is not changed.',
        path=True,
        label='Continue from model',
    )
    invert_contrast: bool = option(
        False,
        'References and particles have opposite contrast: reverse the references. '
        'Asked for by an error message when that is the case.',
        label='Invert contrast',
    )
    force: bool = option(
        False,
        'Train although particles and references do not correlate (wrong poses, wrong map, other particles).',
        expert=True,
        label='Train in spite of failed checks',
    )
    devices: int | None = option(
        None,
        'Processes, one a GPU (or, with --device cpu, CPU processes); default the '
        'GPUs named by --device. Started under torchrun or SLURM, their number rules.',
        ge=1,
        le=1024,
        expert=True,
        label='Processes',
    )
    nodes: int = option(
        1, 'Computers, for runs started by torchrun or SLURM.', ge=1, le=1024, expert=True, label='Nodes'
    )

    def validate(self):
        """As in every verb; and the length is given at most once."""
        super().validate()
        degrees(self.pose_prior)
        given = [flag(name) for name in LENGTHS if getattr(self, name) is not None]
        if len(given) > 1:
            raise InputError(f'give only one of {", ".join(given)}: they all set the length of the run')
        self._validate_target()

    def _validate_target(self):
        """What each target needs is there, and nothing that it cannot use."""
        if self.target == 'references':
            if self.references is None:
                raise InputError('--references is missing (or train without: --target self)')
            if self.copies is not None:
                raise InputError('--copies is for --target copies')
            return
        if (self.copies is not None) != (self.target == 'copies'):
            raise InputError('--copies is missing' if self.copies is None else '--copies is for --target copies')
        if self.references is not None:
            raise InputError(f'--target {self.target} learns without --references: leave them out')
        for name, usable in WITHOUT_REFERENCES.items():
            value = getattr(self, name)
            if value not in (None, *usable):
                raise InputError(
                    f'--target {self.target}: {flag(name)} {value} needs references; without them it can be '
                    f'{" or ".join(str(v) for v in usable)}'
                )
        if self.network in ('guided', 'basis', 'equivariant'):
            raise InputError(f'--target {self.target}: --network {self.network} looks at references; take residual')

    def pose_prior_degrees(self):
        """Width of the pose prior, or None."""
        return degrees(self.pose_prior)

    def fill(self):
        """Take from the preset every option that was left open; explicit values win. Returns self."""
        values = preset_values(self.preset, self.network, self.target)
        if any(getattr(self, name) is not None for name in LENGTHS):
            values = {k: v for k, v in values.items() if k not in LENGTHS}
        known = {f.name for f in fields(self)}
        for name, value in values.items():
            if name not in known:
                raise InputError(f'preset {self.preset}: unknown option {name!r}')
            if getattr(self, name) is None:
                setattr(self, name, value)
        self.validate()
        return self
