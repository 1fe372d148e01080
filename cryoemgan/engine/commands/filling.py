"""A stack filled batch by batch, by one process or by several in turn; the first one writes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import TypeAlias

from ..data.stack_writer import ResumableStack
from ..job import Job
from ..processes import Team
from ..shapes import Floats, Images

# A batch, or its parts where it did not fit into memory: images [n, box, box], and what was found of each [n, columns].
Parts: TypeAlias = list[tuple[Images, Floats]]


def fill(
    stack: ResumableStack,
    job: Job,
    title: str,
    work: Callable[[Sequence[int]], Iterator[Parts]],
    batch_size: int,
    team: Team,
) -> int:
    """Fill a stack; the first image that this run made.

    Parameters
    ----------
    stack : ResumableStack
        Not yet open; the first process of the team opens it.
    work : callable
        First rows of some batches -> their Parts, in order.
    """

    def batches(first: int) -> Iterator[Parts]:
        starts = range(first, stack.count, batch_size)
        return team.in_order(work(starts[team.rank :: team.size]), len(starts))

    if team.rank:
        for _ in batches(team.agreed(0)):
            pass
        return 0
    with stack, job.progress(stack.count, title, stack.written) as bar:
        first = team.agreed(stack.written)
        with closing(batches(first)) as found:  # type: ignore[type-var]
            for parts in found:
                for images, values in parts:
                    stack.append(images, values)
                    bar.update(len(images))
    return first
