"""Denoising a stream of particles with all members of a model: each particle by those that never saw it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from ..data.stacks import StackReader
from ..data.table import ParticleTable
from ..imaging import maps
from ..imaging.resample import resample
from ..posterior.joint_library import ALL
from ..posterior.map_prior import Context, ImagePosterior
from ..posterior.pose_columns import POSE, numbers_of
from ..settings.denoise import cut_resolution
from ..shapes import Flags, Floats, Images, Rows
from ..streams import Portions, in_stages
from . import uncertainty
from .boxes import Boxes
from .model import Model
from .routing import Routing
from .seen_ctf import Knowledge

# Particles as they are, at the model's box, and their rows.
Batch: TypeAlias = tuple[Images, Images, Rows]


@dataclass(frozen=True)
class Denoised:
    """A batch: noisy [b, input box, input box], images [b, box, box], float32; expected error of each image in
    standard deviations of it, float64 [b], and of each pixel, float32 [b, box, box] (both None when not asked for);
    scores of a guided model, float64 [b, 6]: ImagePosterior.scores and PValueCalibration.fit; posterior, float64
    [b, POSE + K]: `pose_columns.numbers_of`, and the probability of each map where there are several."""

    noisy: np.ndarray
    images: np.ndarray
    errors: np.ndarray | None
    maps: np.ndarray | None
    scores: np.ndarray | None = None
    posterior: np.ndarray | None = None


class Ensemble:
    """The members of a model at work. plan: inference.Boxes. routing: routing.Routing of the particles.

    cut: A, resolution at which the output is cut softly; None = not. with_errors: ask every member (or the only one
    twice), which tells the uncertainty and costs as many times. table: of the particles, for a model that knows more of
    them than their pixels (`Model.takes_context`). like: rows of it whose context is taken, default all in order.
    """

    def __init__(
        self,
        model: Model,
        plan: Boxes,
        precision: str,
        routing: Routing,
        cut: float | None = None,
        with_errors: bool = True,
        table: ParticleTable | None = None,
        like: Rows | slice = slice(None),
    ) -> None:
        self.model, self.plan, self.precision, self.routing = model, plan, precision, routing
        self.cut = cut if cut and cut > 2 * plan.pixel_size else None
        self.with_errors = with_errors
        self.context = Context.of(table, like, plan.model_box) if table is not None and model.takes_context else None
        told = model.card.get('uncertainty', {})
        joint = model.card['joint']['uncertainty'] if model.joins else told
        self.calibration = [(t.get('scale', 1.0), t.get('floor', 0.0)) for t in (told, joint)]

    def stream(
        self, images: StackReader, starts: Iterable[int], say: Callable[[str], object] = lambda sentence: None
    ) -> Iterator[list[Denoised]]:
        """[Denoised, ...] of each batch, in order: one, or several where memory ran out. Reading, the networks, and
        what comes after them go on at the same time.

        starts: first particle of each batch. say: told when memory runs out and batches become smaller.
        """
        portions = Portions(say)

        def read(start: int) -> Batch:
            rows = np.arange(start, min(start + self.plan.batch_size, len(images)))
            return self._fitted(images.read(rows), rows)

        def begin(batch: Batch) -> list[Callable[[], Denoised]]:
            noisy, particles, rows = batch
            return portions(lambda part: self._begun(noisy[part], particles[part], rows[part]), len(rows))

        return in_stages(starts, read, begin, lambda begun: [finish() for finish in begun])

    def __call__(self, noisy: Images, rows: Rows) -> Denoised:
        """Denoised of particles [b, input box, input box], which are ``rows`` of the routed table."""
        return self._begun(*self._fitted(noisy, rows))()

    def _fitted(self, noisy: Images, rows: Rows) -> Batch:
        return noisy, resample(noisy, self.plan.model_box), rows

    def _begun(self, noisy: Images, particles: Images, rows: Rows) -> Callable[[], Denoised]:
        """Denoised, begun on the device: what is given back waits for it when it is called."""
        weights = self.routing.weights[rows]
        known = self._known(particles, rows)
        if not self.with_errors:
            routed = self._routed(particles, weights, known)
            return lambda: Denoised(noisy, self._finished(routed()), None, None, *self._judged(known, rows))
        begun = uncertainty.begin_answers(self.model, particles, self.precision, known)
        return lambda: self._with_errors(noisy, rows, known, begun())

    def _with_errors(self, noisy: Images, rows: Rows, known: Mapping[str, Knowledge], found: Images) -> Denoised:
        # The cut comes first: detail that is not shown cannot be wrong.
        weights, joint = self.routing.weights[rows], self.routing.joint[rows]
        found = np.stack([self._finished(answer) for answer in found])
        images = np.einsum('nm,mnyx->nyx', weights, found[: weights.shape[1]])
        own = uncertainty.posterior_sd(self.model, known)
        own = own if own is None else resample(own, self.plan.box)
        scale, floor = (np.where(joint, b, a)[:, None, None] for a, b in zip(*self.calibration))
        spreads = np.hypot(floor, scale * uncertainty.spread(found, own)).astype(np.float32)
        errors = uncertainty.relative(spreads, images)
        return Denoised(noisy, images, errors, spreads, *self._judged(known, rows))

    def _known(self, particles: Images, rows: Rows) -> dict[str, Knowledge]:
        """{member: what it is told} of all particles (with errors) or of those that it denoises; empty: pixels only."""
        found: dict[str, Knowledge] = {}
        if self.context is None:
            return found
        together = np.flatnonzero(self.routing.joint[rows])
        if self.with_errors and not together.size:
            return self.model.ask_all(particles, self.context.part(rows))
        ask, context = self.model.ask, self.context.part(rows)
        shared = [(together, ask(particles[together], context.part(together), ALL))] if together.size else []
        for k, member in enumerate(self.routing.members):
            wanted = self.with_errors | (self.routing.weights[rows, k] > 0)
            mine = np.flatnonzero(wanted & ~self.routing.joint[rows])
            alone = [(mine, ask(particles[mine], context.part(mine), member))] if mine.size else []
            if parts := [*alone, *shared]:
                found[member] = joined(parts)
        return found

    def _judged(self, known: Mapping[str, Knowledge], rows: Rows) -> tuple[Floats | None, Floats | None]:
        """(each particle's scores and fit, float64 [b, 6], of the members that denoise it; their posterior as of
        `Denoised`, the pose being that of the one which explains it best); None without a map."""
        if self.context is None or not self.model.guides:
            return None, None
        weights = self.routing.weights[rows]
        scores, poses = np.zeros((len(weights), 6)), np.full((len(weights), POSE), np.nan)
        classes = np.zeros((len(weights), len(self.model.classes)))
        most = np.full(len(weights), -np.inf)
        for k, member in enumerate(self.routing.members):
            mine, posterior = np.flatnonzero(weights[:, k]), known.get(member)
            if mine.size and isinstance(posterior, ImagePosterior):
                own = posterior.part(mine) if self.with_errors else posterior
                found = own.scores().astype(np.float64)
                fit = self._fit(found, self.routing.joint[rows[mine]], member)
                scores[mine] += weights[mine, k, None] * np.column_stack([found, fit])
                if self.model.classes:
                    classes[mine] += weights[mine, k, None] * own.classes.cpu().numpy()
                best = found[:, 0] > most[mine]
                poses[mine[best]] = numbers_of(own, self.context.pixel_size)[best]
                most[mine[best]] = found[best, 0]
        return scores, np.concatenate([poses, classes], 1)

    def _fit(self, scores: Floats, joint: Flags, member: str) -> Floats:
        """p-values [n] of scores [n, 5] of a member, or of ALL where they are ``joint``."""
        found = np.empty(len(scores))
        for rows, judge in ((~joint, member), (joint, ALL)):
            if rows.any():
                evidence, _, _, misfit, match = scores[rows].T
                found[rows] = self.model.belonging(judge).fit(evidence, match, misfit)
        return found

    def _routed(self, particles: Images, weights: Images, known: Mapping[str, Knowledge]) -> Callable[[], Images]:
        """Each particle by its own members only, begun; known: as `_known` gives it."""
        begun = []
        for k, member in enumerate(self.routing.members):
            mine = np.flatnonzero(weights[:, k])
            if mine.size:
                answer = self.model.begin(particles[mine], member, self.precision, known.get(member))
                begun.append((k, mine, answer))

        def finish() -> Images:
            images = np.zeros_like(particles)
            for k, mine, answer in begun:
                images[mine] += weights[mine, k, None, None] * answer()
            return images

        return finish

    def _finished(self, images: Images) -> Images:
        images = resample(images, self.plan.box)
        if self.cut:
            images = maps.lowpass(images, self.plan.pixel_size, self.cut, axes=(-2, -1))
        return images


def joined(parts: Sequence[tuple[Rows, Knowledge]]) -> Knowledge:
    """What is told of particles in order, from parts of it and the places [n] of each."""
    told = [(rows, part) for rows, part in parts if isinstance(part, ImagePosterior)]
    return ImagePosterior.joined(told) if len(parts) > 1 else parts[0][1]


def cut_of(setting: str, model: Model) -> float | None:
    """Resolution (A) of --cut: 'auto' is what the model's validation particles support, 'none' gives None."""
    if setting == 'auto':
        return model.card.get('resolution', {}).get('cut')
    return cut_resolution(setting)
