"""Large banks in groups of similar views: a search looks at one representative of each first."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial import cKDTree

from ..geometry import euler_to_matrix
from ..shapes import Tensor

# Below this many templates the search looks at all of them: it is not slower, and exact.
FROM = 16000
LEAST, GROWTH = 4000, 16  # representatives: at least, and this often the square root of the templates


@dataclass
class ViewClusters:
    """representatives: int64[G], templates of the bank. members: int64[G, M], templates of each group, filled up
    with -1."""

    representatives: torch.Tensor
    members: torch.Tensor

    @classmethod
    def of(cls, matrices: Tensor, source: Tensor) -> ViewClusters | None:
        """Clusters of templates with poses float32[D, 3, 3] of the maps ``source`` int64[D]; None for small banks and
        where poses are unknown. A group holds neighbouring views of one map; the in-plane angle does not matter."""
        count = len(matrices)
        if count < FROM or bool(matrices.isnan().any()):
            return None
        wanted = max(LEAST, int(GROWTH * count**0.5))
        representatives: list[torch.Tensor] = []
        group = torch.empty(count, dtype=torch.int64)
        for k in source.unique():
            mine = torch.nonzero(source == k)[:, 0].cpu()
            # The direction of view is the third row: a turn in the plane leaves it.
            views = matrices[mine, 2].cpu().numpy()
            grid = directions(max(1, round(wanted * len(mine) / count)))[:, 2].numpy()
            chosen = torch.from_numpy(cKDTree(views).query(grid)[1]).unique()
            nearest = cKDTree(views[chosen.numpy()]).query(views)[1]
            group[mine] = torch.from_numpy(nearest) + sum(map(len, representatives))
            representatives.append(mine[chosen])
        return cls(torch.cat(representatives).to(matrices.device), _listed(group).to(matrices.device))


def _listed(group: Tensor) -> Tensor:
    """Members int64[G, M] of groups from the group int64[D] of each."""
    order = torch.argsort(group, stable=True)
    sizes = torch.bincount(group)
    first = torch.cat([torch.zeros(1, dtype=torch.int64), sizes.cumsum(0)[:-1]])
    members = torch.full((len(sizes), int(sizes.max())), -1)
    members[group[order], torch.arange(len(group)) - first[group[order]]] = order
    return members


def directions(count: int) -> Tensor:
    """float32[count, 3, 3]: matrices A whose viewing directions lie on a Fibonacci spiral on the sphere.

    The in-plane angles are spread too: neighbours then fill the gaps between each other's turns.
    """
    i = np.arange(count) + 0.5
    tilt = np.rad2deg(np.arccos(1 - 2 * i / count))
    golden, plastic = 180 * (3 - math.sqrt(5)), 360 / 1.3247179572447458
    return torch.as_tensor(euler_to_matrix(i * golden % 360, tilt, i * plastic % 360), dtype=torch.float32)
