"""Algorithm 1 of Gu et al. 2020: the autoencoder and its adversary, on Lightning Fabric.

Random numbers of an iteration are a function of (seed, iteration), and the data order of (seed, epoch): a resumed
run goes on exactly where it was. Networks run under autocast; losses, scores, penalty and metrics are float32.
"""

import copy
import math

import numpy as np
import torch

from ..errors import WorkError
from ..random_streams import generator
from . import blind_spots
from .augmentation import augment, with_channel
from .losses import adversary, gradient_penalty, per_image, reconstruction
from .sync_batch_norm import share_batch_norm


class Diverged(WorkError):
    """A loss term stopped being a finite number."""


def cosine(progress, warmup):
    """Factor of the learning rate at progress 0..1: a linear rise over ``warmup``, then half a cosine to 0."""
    if progress < warmup:
        return max(progress, 1e-3) / warmup
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - warmup) / (1 - warmup))))


def noise_level(progress, curriculum):
    """S.d. of the noise, in units of the data's, at progress 0..1: from 0.25 to 1 over the part ``curriculum``."""
    return 1.0 if not curriculum else min(1.0, 0.25 + 0.75 * progress / curriculum)


class Training:
    """Networks, optimisers and running average, and the iteration that moves them.

    pair: networks.Networks. feed: PairLoader. settings: Train, filled. fabric: Lightning Fabric, launched. synthetic:
    FreshPairs, needed for fresh pairs and for changes of the noise. terms: sums of every loss
    term since they were last cleared.
    """

    def __init__(self, pair, feed, settings, fabric, batch_size, synthetic=None):
        self.pair, self.feed, self.settings, self.fabric = pair, feed, settings, fabric
        self.synthetic = synthetic
        self.batch_size, self.iteration, self.draws, self.progress = batch_size, 0, 0, 0.0
        self.generator, self.discriminator = (m.to(fabric.device) for m in (pair.generator, pair.discriminator))
        if fabric.world_size > 1:
            for network in (self.generator, self.discriminator):
                share_batch_norm(network)
        self.rule = adversary(settings.gan, settings.alpha, settings.beta)
        betas = settings.adam_beta1, settings.adam_beta2
        # Fused: one pass over the weights, half the time.
        self.optimise_g, self.optimise_d = (
            torch.optim.Adam(network.parameters(), rate, betas, fused=True)
            for network, rate in (
                (self.generator, settings.learning_rate_generator),
                (self.discriminator, settings.learning_rate_discriminator),
            )
        )
        self.average = copy.deepcopy(self.generator).requires_grad_(False) if settings.ema else self.generator
        self.terms = {}
        # The iteration from which the running average counts.
        self.average_since = 0

    # Algorithm 1

    def iterate(self):
        """One iteration: k_d steps of the discriminator, k_g steps of the generator, each on a fresh batch."""
        s, rule = self.settings, self.rule
        self._begin()
        if rule:
            for _ in range(s.discriminator_steps):
                noisy, clean, _ = self._batch()
                with torch.no_grad():
                    denoised = self._denoise(noisy)
                real, fake = self._mean(rule.real(self._judge(clean))), self._mean(rule.fake(self._judge(denoised)))
                penalty = self._penalty(clean, denoised) if s.gan == 'wgan-gp' else 0 * real
                self._descend(
                    self.optimise_d,
                    self.discriminator,
                    -(real + fake) + s.gradient_penalty * penalty,
                    score_real=real,
                    score_fake=fake,
                    penalty=penalty,
                )
            self.discriminator.requires_grad_(False)
        for _ in range(s.generator_steps):
            noisy, clean, hidden = self._batch()
            denoised = self._denoise(noisy)
            distance = reconstruction(denoised, clean, s.p, hidden)
            fake = self._mean(rule.fake(self._judge(denoised))) if rule else 0 * distance
            self._descend(
                self.optimise_g,
                self.generator,
                fake + s.reconstruction_weight * distance,
                reconstruction=distance,
                adversary=fake,
            )
            self._update_average()
        self.discriminator.requires_grad_(True)
        self.iteration += 1

    # Its pieces

    def _begin(self):
        s = self.settings
        factor = cosine(self.progress, s.warmup) if s.schedule == 'cosine' else 1.0
        for optimiser, rate in (
            (self.optimise_g, s.learning_rate_generator),
            (self.optimise_d, s.learning_rate_discriminator),
        ):
            for group in optimiser.param_groups:
                group['lr'] = factor * rate
        if self.pair.stages > 1:
            # Growing takes the first half of the run: equal time for each resolution, half of it fading in. With a
            # fifth of the run and the end of the cosine for it, the last one stayed at the mean image.
            stage, inside = divmod(min(2 * self.progress, 1 - 1e-9) * self.pair.stages, 1)
            if self.pair.generator.network.stage()[0] != stage:
                # The layers of a new resolution are untrained: an old average would hold on to them.
                self.average_since = self.iteration
            self.pair.set_stage(int(stage), min(1.0, 2 * inside))
        torch.manual_seed(int(generator(s.seed, 'weights', self.iteration, 1).integers(2**63)))
        self.generator.train()
        self.discriminator.train()

    def _batch(self):
        """The next augmented pairs (particle, reference), [B, 1, N, N] on the device, and which pixels of the particles
        are hidden and count (None: all count); this process's share of them."""
        s = self.settings
        rng = generator(s.seed, 'augmentation', self.draws)
        level = noise_level(self.progress, s.noise_curriculum)
        fresh = round(s.fresh_fraction * self.batch_size)
        parts = []
        if fresh < self.batch_size:
            parts.append(self._real(*self.feed.next(self.batch_size - fresh), rng, level))
        if fresh:
            parts.append(self._augment(self.synthetic.draw(self.draws, fresh, level), rng))
        noisy, clean, hidden = (*(torch.cat(x) for x in zip(*parts)), None)
        if s.target == 'self':
            spots = generator(s.seed, 'blind spots', self.draws)
            noisy, hidden = blind_spots.hide(noisy, s.hidden_pixels, spots)
        elif s.target == 'copies':
            noisy, clean = self._exchange_copies(noisy, clean, rng)
        self.draws += 1
        mine = slice(self.fabric.global_rank, None, self.fabric.world_size)
        batch = [x if x is None else x[mine] for x in (noisy, clean, hidden)]
        return tuple(x if x is None else x.to(self.fabric.device, memory_format=torch.channels_last) for x in batch)

    def _exchange_copies(self, noisy, clean, rng):
        """Each copy is the target as often as the other."""
        a, b = self.feed.pairs.scale.signal()
        chosen = torch.as_tensor(rng.random((len(noisy), 1, 1, 1)) < 0.5)
        return torch.where(chosen, a * clean + b, noisy), torch.where(chosen, (noisy - b) / a, clean)

    def _real(self, positions, noisy, clean, rng, level):
        """ReferencePairs of the data [B, N, N], moved, their noise weakened to ``level`` and exchanged."""
        s, pure = self.settings, None
        if level < 1 or s.exchange_noise:
            pure = self.synthetic.without_noise(positions, clean)
            noisy = pure + np.float32(level) * (noisy - pure)
            pure = with_channel(pure)
        return self._augment((noisy, clean), rng, exchange=s.exchange_noise, pure=pure)

    def _augment(self, pair, rng, **noise):
        """ReferencePairs [B, N, N] (guided particles: [B, 4, N, N]) as tensors [B, C, N, N], moved."""
        noisy, clean = (with_channel(x) for x in pair)
        return augment(noisy, clean, rng, turns=self.settings.turns, shift=self.settings.shift, **noise)

    def _denoise(self, noisy):
        with self.fabric.autocast():
            return self.generator(noisy).float()

    def _judge(self, images):
        with self.fabric.autocast():
            return self.discriminator(images).float()

    def _mean(self, scores):
        return per_image(scores, self.settings.patch_reduction).mean()

    def _penalty(self, clean, denoised):
        return gradient_penalty(
            self.discriminator,
            clean,
            denoised,
            patches=self.settings.patch_reduction,
            scale_free=self.settings.critic_scale == 'box',
        )

    def _descend(self, optimiser, network, loss, **terms):
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self._share_gradients(network)
        limit = self.settings.clip or math.inf
        terms['gradient'] = torch.nn.utils.clip_grad_norm_(network.parameters(), limit)
        self._record(network is self.generator, terms)
        optimiser.step()

    def _share_gradients(self, network):
        """Mean of the gradients over processes, as one message."""
        if self.fabric.world_size == 1:
            return
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        flat = self.fabric.all_reduce(torch.cat([g.reshape(-1) for g in gradients]), reduce_op='mean')
        for gradient, shared in zip(gradients, flat.split([g.numel() for g in gradients])):
            gradient.copy_(shared.view_as(gradient))

    def _record(self, of_generator, terms):
        """Add to the sums; raise Diverged before a step with a number that is not finite."""
        side = 'generator' if of_generator else 'discriminator'
        values = self.fabric.all_reduce(torch.stack([v.detach().float() for v in terms.values()]), reduce_op='mean')
        for name, value in zip(terms, values.tolist()):
            if not math.isfinite(value):
                raise Diverged(f'iteration {self.iteration + 1}: the term {name!r} of the {side} became {value}')
            key = f'{name}_{side}' if name == 'gradient' else name
            total, count = self.terms.get(key, (0.0, 0))
            self.terms[key] = total + value, count + 1

    @torch.no_grad()
    def _update_average(self):
        if self.average is self.generator:
            return
        # Young averages forget fast, or the first weights would stay in them.
        steps = (self.iteration - self.average_since) * self.settings.generator_steps
        decay = min(self.settings.ema, (1 + steps) / (10 + steps))
        torch._foreach_lerp_(list(self.average.parameters()), list(self.generator.parameters()), 1 - decay)
        for mean, value in zip(self.average.buffers(), self.generator.buffers()):
            mean.copy_(value)

    # State

    def state(self):
        """Everything that the next iteration depends on: tensors and plain values only."""
        return {
            'generator': self.generator.state_dict(),
            'discriminator': self.discriminator.state_dict(),
            'average': self.average.state_dict(),
            'optimise_g': self.optimise_g.state_dict(),
            'optimise_d': self.optimise_d.state_dict(),
            'iteration': self.iteration,
            'average_since': self.average_since,
            'draws': self.draws,
            'epoch': self.feed.epoch,
            'offset': self.feed.offset,
            'batch_size': self.batch_size,
            'terms': {k: list(v) for k, v in self.terms.items()},
        }

    def restore(self, state):
        """Go on from `state`."""
        for name in ('generator', 'discriminator', 'average', 'optimise_g', 'optimise_d'):
            getattr(self, name).load_state_dict(state[name])
        self.iteration, self.draws = state['iteration'], state['draws']
        self.average_since = state['average_since']
        self.feed.epoch, self.feed.offset = state['epoch'], state['offset']
        self.terms = {k: tuple(v) for k, v in state['terms'].items()}
