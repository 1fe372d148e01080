"""Is the given time enough? Told from the first seconds of a training."""

from __future__ import annotations

from dataclasses import dataclass

# Seconds of training that tell how fast it is.
SECONDS = 10.0
# Times that networks have to be shown the pairs, as far as it was measured: more lowered the error by little.
ENOUGH = {'equivariant': 30}


@dataclass(frozen=True)
class Pilot:
    """Of a run. models: its fold models. enough: times that pairs have to be shown, None where nobody knows. ends: the
    training ends then."""

    models: int
    enough: int | None
    ends: bool

    @classmethod
    def of(cls, network: str, most_epochs: int, models: int) -> Pilot:
        """Of a network, with the setting ``most_epochs``."""
        return cls(models, most_epochs or ENOUGH.get(network), bool(most_epochs))

    def sentence(self, per_second: float, pairs: int, before: float, given: float) -> str:
        """How often the pairs will be shown, and whether that is enough.

        Parameters
        ----------
        per_second : float
            Pairs shown in a second, fresh ones included.
        pairs : int
            Of a fold model.
        before, given : float
            Seconds of a fold model until its first step, and in all.
        """
        shown = per_second * max(0.0, given - before) / pairs
        said = (
            f'at the speed of the first seconds, --minutes {given * self.models / 60:.3g} will show every pair '
            f'{_times(shown)} to its network'
        )
        if self.enough is None:
            return said
        needed = (before + self.enough * pairs / per_second) * self.models / 60
        said += f'; {_times(self.enough)} (--minutes {_rounded(needed)}) are likely to be '
        if shown < self.enough:
            return said + 'needed: it may still improve with more time'
        return said + ('enough, and the training ends then' if self.ends else 'enough')


def _times(shown: float) -> str:
    if shown < 0.95:
        # Preparing may have taken all of the time.
        return 'less than once'
    return 'about once' if shown < 1.05 else f'about {_rounded(shown)} times'


def _rounded(value: float) -> str:
    """Two digits: a pilot knows no more."""
    return f'{float(f"{value:.2g}"):g}'
