"""Work on a stream of batches: stages that overlap, and batches that shrink where memory runs out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import torch

from .devices import is_out_of_memory

T = TypeVar('T')

# Batches under way at a time: one in each stage of a stream of three, and one for whoever takes them.
AHEAD = 4


def in_stages(items: Iterable[Any], *stages: Callable[[Any], Any], ahead: int = AHEAD) -> Generator[Any, None, None]:
    """What the stages make of each item, one stage after the other; in order.

    Each stage has a thread of its own and does one item after the other: while the last stage is at one, the first is
    at one of the next. An error ends the stream where it belongs in the order. A consumer that may stop early closes
    the stream (`contextlib.closing`).
    """
    pools = [ThreadPoolExecutor(1) for _ in stages]
    waiting: deque[Future[Any]] = deque()
    try:
        for item in items:
            waiting.append(_started(item, stages, pools))
            if len(waiting) == ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for pool in pools:
            pool.shutdown(wait=False, cancel_futures=True)
        for pool in pools:
            pool.shutdown()


def _started(item: Any, stages: Iterable[Callable[[Any], Any]], pools: Iterable[ThreadPoolExecutor]) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(item)
    for stage, pool in zip(stages, pools):
        future = pool.submit(_after, future, stage)
    return future


def _after(before: Future[Any], stage: Callable[[Any], Any]) -> Any:
    return stage(before.result())


class Portions:
    """Does work on rows as many at a time as memory allows: where it runs out, half as many from then on.

    Parameters
    ----------
    say : callable
        Told a sentence when memory has run out.
    """

    def __init__(self, say: Callable[[str], object] = lambda sentence: None) -> None:
        self._say, self._most = say, 0

    def __call__(self, work: Callable[[slice], T], count: int) -> list[T]:
        """``work(rows)`` for slices that cover ``0..count-1`` in order."""
        found: list[T] = []
        start = 0
        while start < count:
            rows = slice(start, min(count, start + (self._most or count)))
            done = _unless_too_large(work, rows)
            if not done:
                self._halve(rows.stop - start)
                continue
            found += done
            start = rows.stop
        return found

    def _halve(self, size: int) -> None:
        torch.cuda.empty_cache()
        self._most = size // 2
        self._say(f'out of memory with {size} images at a time: going on with {self._most}')


def _unless_too_large(work: Callable[[slice], T], rows: slice) -> list[T]:
    """[work(rows)]; [] when memory ran out. (Whoever handles the error inside an except clause holds every tensor of
    the work that failed, by its traceback.)"""
    try:
        return [work(rows)]
    except (RuntimeError, MemoryError) as e:
        if not is_out_of_memory(e) or rows.stop - rows.start < 2:
            raise
        return []
