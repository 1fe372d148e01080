"""Training pairs of a guided network: every particle comes with what the map prior says of it, and some are empty."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..devices import to_device
from ..files import flush_to_disk
from ..job import Job
from ..random_fields import RandomRows
from ..shapes import Flags, Images, Rows, Tensor
from ..streams import Portions
from .asked import Asked, reserve
from .map_prior import Context, ImagePosterior, MapPrior
from .sources import Pairs

if TYPE_CHECKING:
    from lightning_fabric import Fabric

EMPTY_FRACTION = 0.1
# Images asked about at a time, on a processor and on a GPU.
CHUNK = {'cpu': 64, 'cuda': 1024}
SCORES = 5  # of ImagePosterior.scores


class GuidedPairs:
    """ReferencePairs with opinions. Positions from len(pairs) on are empty: noise, and the grey of an empty image.

    The network sees [n, 4, N, N]: particle, mean, s.d., presence.
    """

    def __init__(
        self, pairs: Pairs, guide: MapPrior, path: Path, seed: int, wanted: Rows, own: Rows | None = None
    ) -> None:
        """path: file of the opinions. wanted: positions that need one. own: int64[len(pairs)], the template made from
        each particle, -1 for none."""
        self.pairs, self.guide, self.seed, self.own = pairs, guide, seed, own
        empty = np.arange(len(pairs), len(pairs) + max(8, round(EMPTY_FRACTION * len(wanted))))
        self.empty, self.wanted = empty, np.append(wanted, empty)
        self._place = np.full(len(pairs) + len(empty), -1)
        self._place[self.wanted] = np.arange(len(self.wanted))
        self.path = path
        self._context: Context | None = None
        self.training, self.validation = wanted, wanted[:0]
        # What is asked of all pairs, and is not of their images, the pairs themselves answer.
        self.kind, self.box, self.pixel_size, self.scale = pairs.kind, pairs.box, pairs.pixel_size, pairs.scale
        self.target_noise, self.gains = pairs.target_noise, pairs.gains
        self.particles, self.rows, self.known = pairs.particles, pairs.rows, pairs.known
        self.ctf, self.shows_ctf = pairs.ctf, pairs.shows_ctf
        self.references = getattr(pairs, 'references', None)
        self.who, self.kin, self.names, self.raw = pairs.who, pairs.kin, pairs.names, pairs.raw
        self.half_sets, self.own_half_maps = pairs.half_sets, pairs.own_half_maps
        self.references_at = pairs.references_at
        # Known once ``prepare`` or ``recall`` has run.
        self._opinions: Any = None
        self.present: Any = None
        self.scores: Any = None

    def __len__(self) -> int:
        return len(self.pairs)

    def prepare(self, job: Job, fabric: Fabric, identity: str) -> None:
        """Ask the guide about every wanted particle and every empty image; written to disk as they come. Each process
        asks about its share and knows all in the end. identity: what the answers depend on; one process alone goes on
        where an interrupted run of the same was."""
        portions = Portions(job.warn)
        if fabric.world_size > 1:
            present, scores = self._share(job, fabric, portions)
        else:
            count, chunk = len(self.wanted), CHUNK[self.guide.device.type]
            with Asked(self.path, count, self.pairs.box, 1 + SCORES, identity, job.settings.resume) as asked:
                if asked.done:
                    job.say(f'{asked.done} of {count} images had been compared with the map: going on behind them')
                with job.progress(count, 'asking the bank', asked.done) as bar:
                    while asked.done < count:
                        rows = np.arange(asked.done, min(asked.done + chunk, count))
                        opinions, *found = self._opinions_of(rows, portions)
                        asked.add(rows, opinions, np.concatenate([found[0][:, None], found[1]], axis=1))
                        bar.update(len(rows))
            present, scores = (torch.from_numpy(asked.values[:, of]).float() for of in (0, slice(1, None)))
        self.recall({'present': present, 'scores': scores})

    def _opinions_of(self, rows: Rows, portions: Portions) -> tuple[Images, Images, Images]:
        """(mean and s.d. [n, 2, N, N], presence [n], scores [n, SCORES]) of wanted images."""
        s = self.pairs.scale

        def ask(part: slice) -> tuple[Images, Images, Images]:
            found = self._ask(self.wanted[rows[part]])
            channels = found.channels(1 / s.unit_scale, -s.unit_offset / s.unit_scale)
            return channels[:, :2].cpu().numpy(), found.present.cpu().numpy(), found.scores()

        opinions, present, scores = (np.concatenate(parts) for parts in zip(*portions(ask, len(rows))))
        return opinions, present, scores

    def _share(self, job: Job, fabric: Fabric, portions: Portions) -> list[Tensor]:
        """(presence, scores) of all, each process having asked about its share."""
        count, n = len(self.wanted), self.pairs.box
        if fabric.is_global_zero:
            np.lib.format.open_memmap(self.path, 'w+', np.float16, (count, 2, n, n)).flush()
            reserve(self.path)
        fabric.barrier()
        opinions = np.lib.format.open_memmap(self.path, 'r+')
        present, scores = torch.zeros(count), torch.zeros(count, SCORES)
        share = np.array_split(np.arange(count), fabric.world_size)[fabric.global_rank]
        chunk = CHUNK[self.guide.device.type]
        with job.progress(len(share), 'asking the bank') as bar:
            for rows in np.array_split(share, range(chunk, len(share), chunk)):
                opinions[rows], *found = self._opinions_of(rows, portions)
                present[rows], scores[rows] = map(torch.from_numpy, found)
                bar.update(len(rows))
        opinions.flush()
        flush_to_disk(self.path)
        # What the other processes found is zero here. Once all have it, all have written their opinions.
        return [
            torch.as_tensor(fabric.all_reduce(x.to(fabric.device), reduce_op='sum')).cpu() for x in (present, scores)
        ]

    def recall(self, tensors: Mapping[str, Tensor]) -> None:
        """Opinions that lie on disk, of this run or an earlier one."""
        self._opinions = np.load(self.path, mmap_mode='r')
        self.present, self.scores = tensors['present'].numpy(), tensors['scores'].numpy()

    def scores_of(self, positions: Rows) -> np.ndarray:
        """float32[n, 5], as ImagePosterior.scores."""
        return self.scores[self._place[positions]]

    def _ask(self, positions: Rows) -> ImagePosterior:
        device = self.guide.device
        real = positions < len(self.pairs)
        shown = to_device(self.pairs.raw(positions[real])[0], device)
        noisy = _in_order(real, shown, self._empty(positions[~real], device))
        own = None
        if self.own is not None:
            own = to_device(np.append(self.own, -np.ones(len(self.empty), int))[positions], device)
        return self.guide(noisy, self.context(positions), own)

    def context(self, positions: Rows) -> Context:
        """Context of particles; an empty image borrows that of a particle."""
        if self._context is None:
            # Once for the whole set: a table of 80,000 rows takes seconds to parse.
            self._context = Context.of(self.pairs.particles, self.pairs.rows, self.pairs.box)
        return self._context.part(positions % len(self.pairs))

    def _empty(self, positions: Rows, device: torch.device) -> Tensor:
        """Empty images float32[n, N, N] in particle grey, each the same whenever it is asked for."""
        n, scale = self.pairs.box, self.pairs.scale
        if not len(positions):
            # MKL has no transform of no images.
            return torch.empty(0, n, n, device=device)
        white = RandomRows(self.seed, 'empty', 0, positions, device).normal(n, n)
        return self.guide.coloured(white) + (scale.gain * self.guide.bank.background + scale.offset)

    @property
    def map_prior(self) -> MapPrior:
        """What the network knows of the map."""
        return self.guide

    def gather(self, positions: Rows) -> tuple[Any, ...]:
        """(particles, references) of the positions that are not empty, in their own grey values and boxes; of all
        positions their opinions float16[n, 2, N, N] and presence float32[n]."""
        positions = np.asarray(positions)
        places = self._place[positions]
        gathered = self.pairs.gather(positions[positions < len(self.pairs)])
        return *gathered, self._opinions[places], self.present[places]

    def assemble(self, gathered: tuple[Tensor, ...], positions: Rows) -> tuple[Tensor, Tensor]:
        """(particles with opinions float32[n, 4, N, N], references [n, 1, N, N])."""
        *raw, opinions, present = gathered
        positions, s = np.asarray(positions), self.pairs.scale
        real = positions < len(self.pairs)
        noisy, clean = self.pairs.assemble(tuple(raw), positions[real])
        empty = ((self._empty(positions[~real], noisy.device) - s.mean) / s.sd)[:, None]
        nothing = torch.full_like(empty, s.unit_scale * self.guide.bank.background + s.unit_offset)
        noisy, clean = _in_order(real, noisy, empty), _in_order(real, clean, nothing)
        present = present[:, None, None, None].expand_as(noisy)
        return torch.cat([noisy, opinions.float(), present], 1), clean


def _in_order(real: Flags, images: Tensor, empty: Tensor) -> Tensor:
    """Real images and empty ones, [n, ...] in all, where ``real`` bool[n] says which is which."""
    if real.all():
        return images
    place = np.empty(len(real), np.int64)
    place[np.argsort(~real, kind='stable')] = np.arange(len(real))
    return torch.cat([images, empty]).index_select(0, to_device(place, images.device))
