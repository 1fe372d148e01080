"""Algorithm 1 of Gu et al. 2020: the autoencoder and its adversary, on Lightning Fabric.

Random numbers of an iteration are a function of (seed, iteration), and the data order of (seed, epoch): a resumed
run goes on exactly where it was. Networks run under autocast; losses, scores, penalty and metrics are float32.

Nothing here waits for the device: terms of the losses are summed where they are, and a step whose terms are not
finite is not taken there either; `Training.check` tells of it afterwards.
"""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..devices import to_device
from ..networks import Networks, set_stage
from ..random_streams import generator
from ..settings.adversary import Adversary
from ..settings.optimisation import Optimisation
from ..shapes import Json, Tensor
from . import losses
from .batches import Batch, Batches
from .sync_batch_norm import share_batch_norm
from .terms import Terms

if TYPE_CHECKING:
    from lightning_fabric import Fabric

# Devices whose Adam is one kernel. (The meta device, on which a step is tested not to wait, has none.)
FUSED = ('cpu', 'cuda')


class GeneratorObjective(nn.Module):
    """Batch in, terms of the generator's loss out: {'loss', 'reconstruction', 'adversary'}."""

    def __init__(self, generator: nn.Module, discriminator: nn.Module, rule: losses.Rule | None, s: Adversary) -> None:
        super().__init__()
        self.generator = generator
        # In a tuple: its weights are not this objective's to train.
        self._opponent, self._rule, self._s = (discriminator,), rule, s

    def forward(self, noisy: Tensor, clean: Tensor, counted: Tensor | None, total: Tensor | None) -> dict[str, Tensor]:
        denoised = self.generator(noisy).float()
        distance = losses.reconstruction(denoised, clean, self._s.p, counted, total)
        fake = torch.zeros_like(distance)
        if self._rule is not None:
            answers = self._opponent[0](denoised).float()
            fake = losses.mean_score(self._rule.fake(answers), self._s.patch_reduction)
        loss = losses.generator_loss(fake, distance, self._s.reconstruction_weight)
        return {'loss': loss, 'reconstruction': distance, 'adversary': fake}


class DiscriminatorObjective(nn.Module):
    """References and denoised images in, terms of the discriminator's loss out: {'loss', 'score_real', 'score_fake',
    'penalty'}."""

    def __init__(self, discriminator: nn.Module, rule: losses.Rule, s: Adversary) -> None:
        super().__init__()
        self.discriminator, self._rule, self._s = discriminator, rule, s

    def forward(self, clean: Tensor, denoised: Tensor, share: Tensor) -> dict[str, Tensor]:
        s = self._s
        answers = self.discriminator(clean).float(), self.discriminator(denoised).float()
        real = losses.mean_score(self._rule.real(answers[0]), s.patch_reduction)
        fake = losses.mean_score(self._rule.fake(answers[1]), s.patch_reduction)
        penalty = torch.zeros_like(real)
        if s.gan == 'wgan-gp':
            penalty = losses.slope_penalty(
                self.discriminator, clean, denoised, share, s.patch_reduction, s.critic_scale
            )
        loss = losses.discriminator_loss(real, fake, penalty, s.gradient_penalty)
        return {'loss': loss, 'score_real': real, 'score_fake': fake, 'penalty': penalty}


def cosine(progress: float, warmup: float) -> float:
    """Factor of the learning rate at progress 0..1: a linear rise over ``warmup``, then half a cosine to 0."""
    if progress < warmup:
        return max(progress, 1e-3) / warmup
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - warmup) / (1 - warmup))))


def _let_learn(weights: list[Tensor], learn: bool) -> None:
    for w in weights:
        w.requires_grad_(learn)


def statistics_of(network: nn.Module) -> list[Tensor]:
    """Buffers that change in training, those of batch norm."""
    return [b for m in network.modules() if isinstance(m, _BatchNorm) for b in m.buffers()]


class Training:
    """Networks, optimisers and running average, and the iteration that moves them.

    Parameters
    ----------
    networks : Networks
        The pair to train, with its first weights.
    batches : Batches
        What they learn from.
    optimisation, adversary : Optimisation, Adversary
        Filled settings.
    seed : int
        Of the points of the gradient penalty.
    fabric : Fabric
        Launched.
    """

    def __init__(
        self,
        networks: Networks,
        batches: Batches,
        optimisation: Optimisation,
        adversary: Adversary,
        seed: int,
        fabric: Fabric,
    ) -> None:
        self.networks, self.batches, self.fabric, self.seed = networks, batches, fabric, seed
        self.optimisation, self.adversary = optimisation, adversary
        for network in (networks.generator, networks.discriminator):
            network.to(fabric.device)
            if fabric.world_size > 1:
                share_batch_norm(network, fabric.device)
        self.generator, self.discriminator = networks.generator, networks.discriminator
        self.rule = losses.adversary(adversary.gan, adversary.alpha, adversary.beta)
        self.average = copy.deepcopy(self.generator).requires_grad_(False) if optimisation.ema else self.generator
        # To look for them takes longer than a step of some networks launches.
        self._weights: dict[str, list[Tensor]] = {
            side: list(network.parameters())
            for side, network in (
                ('average', self.average),
                ('generator', self.generator),
                ('discriminator', self.discriminator),
            )
        }
        # Other buffers are constants, some of them as large as a batch.
        self._statistics = statistics_of(self.average), statistics_of(self.generator)
        objective = GeneratorObjective(self.generator, self.discriminator, self.rule, adversary)
        # Every forward pass has its own step: nothing is accumulated, so that there is nothing for `no_sync` to save.
        self._generate = fabric.setup_module(objective)
        if self.rule is not None:
            self._discriminate = fabric.setup_module(DiscriminatorObjective(self.discriminator, self.rule, adversary))
        self.optimise_g = self._adam(self.generator, optimisation.learning_rate_generator)
        self.optimise_d = self._adam(self.discriminator, optimisation.learning_rate_discriminator)
        self.iteration = 0
        # The iteration from which the running average counts.
        self.average_since = 0
        self.terms = Terms(fabric)

    def _adam(self, network: nn.Module, rate: float) -> torch.optim.Adam:
        o = self.optimisation
        # Fused: one pass over the weights, half the time, and a step that the device itself can leave out.
        fused = self.fabric.device.type in FUSED
        return torch.optim.Adam(network.parameters(), rate, (o.adam_beta1, o.adam_beta2), fused=fused)

    # Algorithm 1

    def iterate(self, progress: float) -> None:
        """One iteration at ``progress`` (0..1) of the run: k_d steps of the discriminator, k_g steps of the generator,
        each on a fresh batch."""
        self._begin(progress)
        if self.rule is not None:
            for step in range(self.adversary.discriminator_steps):
                batch = self.batches.next(progress)
                with torch.no_grad(), self.fabric.autocast():
                    denoised = self.generator(batch.noisy).float()
                terms = self._discriminate(batch.clean, denoised, self._points(step, batch))
                self._descend('discriminator', self.optimise_d, terms)
            _let_learn(self._weights['discriminator'], False)
        for _ in range(self.adversary.generator_steps):
            batch = self.batches.next(progress)
            terms = self._generate(batch.noisy, batch.clean, batch.counted, self._total(batch.counted))
            self._descend('generator', self.optimise_g, terms)
            self._update_average()
        if self.rule is not None:
            _let_learn(self._weights['discriminator'], True)
        self.iteration += 1

    # Its pieces

    def _begin(self, progress: float) -> None:
        o = self.optimisation
        factor = cosine(progress, o.warmup) if o.schedule == 'cosine' else 1.0
        for optimiser, rate in (
            (self.optimise_g, o.learning_rate_generator),
            (self.optimise_d, o.learning_rate_discriminator),
        ):
            for group in optimiser.param_groups:
                group['lr'] = factor * rate
        if self.networks.stages > 1:
            self._grow(progress)
        for network in (self.generator, self.discriminator):
            if not network.training:
                network.train()

    def _grow(self, progress: float) -> None:
        # Growing takes the first half of the run: equal time for each resolution, half of it fading in. With a
        # fifth of the run and the end of the cosine for it, the last one stayed at the mean image.
        stage, inside = divmod(min(2 * progress, 1 - 1e-9) * self.networks.stages, 1)
        if self.networks.stage != int(stage):
            # The layers of a new resolution are untrained: an old average would hold on to them.
            self.average_since = self.iteration
        self.networks.set_stage(int(stage), min(1.0, 2 * inside))
        set_stage(self.average, int(stage), min(1.0, 2 * inside))

    def _points(self, step: int, batch: Batch) -> Tensor:
        """Where between its two images each pair's gradient penalty is taken."""
        rng = generator(self.seed, 'penalty', self.iteration, step)
        share = rng.random((self.batches.size, 1, 1, 1), dtype='float32')
        return to_device(share[batch.rows], batch.clean.device)

    def _total(self, counted: Tensor | None) -> Tensor | None:
        """Mean over processes of the pixels that count; None where that is this process's own number."""
        if counted is None or self.fabric.world_size == 1:
            return None
        total = counted.sum().float()
        # As in `Terms`: without Fabric's barrier.
        torch.distributed.all_reduce(total)
        return total / self.fabric.world_size

    def _descend(self, side: str, optimiser: torch.optim.Optimizer, terms: dict[str, Tensor]) -> None:
        """A step down the loss, unless one of its terms or the gradient is not finite."""
        weights = self._weights[side]
        for w in weights:
            w.grad = None
        self.fabric.backward(terms['loss'])
        gradient = torch.nn.utils.clip_grad_norm_(weights, self.optimisation.clip or math.inf)
        bad = self.terms.add(side, {**terms, f'gradient_{side}': gradient}, self.iteration + 1)
        if optimiser.defaults['fused']:
            # It reads this on the device and leaves its step out, as it does for torch's gradient scaler.
            optimiser.found_inf = bad  # type: ignore[attr-defined]
        optimiser.step()

    @torch.no_grad()
    def _update_average(self) -> None:
        if self.average is self.generator:
            return
        # Young averages forget fast, or the first weights would stay in them.
        steps = (self.iteration - self.average_since) * self.adversary.generator_steps
        decay = min(self.optimisation.ema, (1 + steps) / (10 + steps))
        torch._foreach_lerp_(self._weights['average'], self._weights['generator'], 1 - decay)
        if self._statistics[0]:
            torch._foreach_copy_(self._statistics[0], self._statistics[1])

    def learning_rates(self) -> dict[str, float]:
        """{'learning_rate_generator', 'learning_rate_discriminator'} of the latest iteration."""
        both = {'generator': self.optimise_g, 'discriminator': self.optimise_d}
        return {f'learning_rate_{name}': o.param_groups[0]['lr'] for name, o in both.items()}

    def check(self) -> None:
        """Raise Diverged when a step was not taken since a term of its loss was not finite. Waits for the device."""
        self.terms.check()

    # State

    def state(self) -> Json:
        """Everything that the next iteration depends on: tensors and plain values only."""
        return {
            'generator': self.generator.state_dict(),
            'discriminator': self.discriminator.state_dict(),
            'average': self.average.state_dict(),
            'optimise_g': self.optimise_g.state_dict(),
            'optimise_d': self.optimise_d.state_dict(),
            'iteration': self.iteration,
            'average_since': self.average_since,
            'batch_size': self.batches.size,
            'terms': self.terms.state(),
            **self.batches.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        for name in ('generator', 'discriminator', 'average', 'optimise_g', 'optimise_d'):
            getattr(self, name).load_state_dict(state[name])
        self.iteration, self.average_since = state['iteration'], state['average_since']
        self.terms.restore(state['terms'])
        self.batches.restore(state)
