"""What a run is going to take, as far as that is known before it starts: said in the log, and in Scipion."""

from __future__ import annotations

# Bytes of a pixel: of a stack, and of a particle and its reference in memory.
STACK, PAIR = 4, 8
# Pairs of which a training holds no more in memory than this, and another window that is being read.
WINDOW_BYTES = 2**29
# Of a guided network: what is kept of each particle while it trains, bytes a pixel; images of noise beside particles.
OPINION, WITH_NOISE = 4, 1.1


def in_words(size: float) -> str:
    """A number of bytes for a person."""
    return f'{size / 1e9:.1f} GB' if size >= 1e8 else f'{max(1, round(size / 1e6))} MB'


def stack_bytes(count: int, box: int) -> int:
    """Bytes on disk of so many images."""
    return STACK * count * box**2


def of_stack(count: int, box: int, sets: int = 1) -> str:
    """What sets of so many images take."""
    times = '' if sets == 1 else f'{sets} x '
    size = in_words(sets * stack_bytes(count, box))
    return f'the result, {times}{count:,} images of {box} px, takes {size} of the disk'


def of_training(count: int, box: int, models: int, minutes: float | None, guided: bool) -> str:
    """What a training takes. count: pairs. models: fold models. minutes: of all of them, None where steps are counted.
    guided: whether the network is."""
    memory = min(PAIR * count * box**2, 2 * WINDOW_BYTES)
    if minutes is None:
        said = 'how long the training takes is shown as soon as it has begun'
    else:
        shared = '' if models == 1 else f', {minutes / models:.3g} for each of {models} fold models'
        judging = ', and up to a quarter of that again to judge the result' if guided else ''
        said = f'the training takes {minutes:.3g} minutes{shared}{judging}'
    said += f'; it keeps up to {in_words(memory)} of the {count:,} pairs in memory'
    if guided:
        kept = OPINION * WITH_NOISE * count * max(1, models - 1) * box**2
        said += f' and, until it has finished, up to {in_words(kept)} on the disk'
    return said
