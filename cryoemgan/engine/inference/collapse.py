"""Does a model show anything? How far its images of different particles differ, against how far they should.

Early in training a network gives the mean image whatever it sees: a local minimum with an ordinary error, a smooth
particle in every picture, and no information. Before that, its images are further from the truth than the mean image.
"""

from __future__ import annotations

import numpy as np

from ..shapes import Images, Json

# Part of the references' variance between particles below which all images are practically the same.
BLANK = 0.01
# The same for images that are nearly so; and part of the variance that an image must explain.
FAINT = 0.1
# A training that was best before this part of its iterations has learnt noise ever since.
EARLY = 0.25
# Part of the variance that images may leave open without another network being named.
OPEN = 0.3


class CollapseCheck:
    """Moments of a stream of batches of images and of what they should be."""

    def __init__(self) -> None:
        self.count, self.error = 0, 0.0
        self.sums = {'images': [0.0, 0.0], 'truth': [0.0, 0.0]}

    def add(self, images: Images, truth: Images) -> None:
        """One batch, [n, box, box] each."""
        self.count += len(images)
        for name, x in (('images', images), ('truth', truth)):
            self.sums[name][0] += x.sum(0, dtype=np.float64)
            self.sums[name][1] += np.square(x, dtype=np.float64).sum()
        self.error += np.square(images - truth, dtype=np.float64).sum()

    def measured(self) -> dict[str, float]:
        """{'variance', 'error'}: of the images between particles (about the set's mean image), and their mean squared
        error, as parts of the references' variance between particles. 1 is full contrast; an error of 1 is that of
        the mean image."""
        between = {k: max(0.0, squares - np.square(total).sum() / self.count)
                   for k, (total, squares) in self.sums.items()}  # fmt: skip
        scale = between['truth']
        if scale <= 1e-9 * self.sums['truth'][1]:
            # One image for all particles is then the right answer.
            return {'variance': 1.0, 'error': 0.0}
        return {'variance': float(between['images'] / scale), 'error': float(self.error / scale)}


def warning(card: Json) -> str | None:
    """A sentence when the model of this card (or of these results of ``assess``) shows nothing, or next to nothing,
    else None."""
    found = card.get('shown')
    if not found:
        return None
    what, why = 'NOTHING', None
    if found['variance'] < BLANK:
        why = f'it gives the same image for all particles ({found["variance"]:.2%} of the variance between references)'
    elif found['error'] >= 1:
        why = (
            f'its images of particles kept out of training are {found["error"]:.1f} times as far from the references '
            '(squared) as one mean image for all would be'
        )
    elif found['variance'] < FAINT or found['error'] > 1 - FAINT:
        what = 'NEXT TO NOTHING'
        why = (
            f'its images hold {found["variance"]:.0%} of the variance between the references of particles kept out of '
            f'training, and have {found["error"]:.0%} of the error of one mean image for all'
        )
    if why is None:
        return None
    return f'THE MODEL SHOWS {what}: {why}. {_cure(found)}'


def advice(measured: Json, network: str) -> str | None:
    """A sentence when the images of a network that learnt from references (what ``assess`` says of it) leave much open,
    and one guided by the map would show more; else None."""
    found, signal = measured.get('shown'), measured.get('signal')
    if network == 'guided' or not found or not signal or found['error'] < OPEN:
        return None
    return (
        f'The images leave {found["error"]:.0%} of the variance between particles open: at a signal-to-noise ratio of '
        f'{signal["snr"]:.2g} a particle alone does not tell more to this network. One guided by the map (--network '
        'guided) is likely to show more, but nothing that is not in the map'
    )


def _cure(found: Json) -> str:
    if found.get('best_at', 1.0) < EARLY:
        return (
            f'It was best after {found["best_at"]:.0%} of its iterations and got worse from there: more time does not '
            'help; the particles may be too few or too noisy for this network. Compare it with the command filter '
            '(--method cwf) and with --network guided, which need less'
        )
    return (
        'Train longer (more --minutes or --iterations); if that does not help, lower the learning rate, and look '
        'whether particles and references belong together'
    )


def best_at(results: Json) -> float | None:
    """Part of the iterations after which a training (its results) was best; the earliest of several fold models. None
    when it was judged too seldom to tell."""
    every = list(results.get('members', {}).values()) or [results]
    if any(len(r['top']) < 2 for r in every):
        return None
    return min(r['best']['iteration'] / max(1, r['iterations']) for r in every)


def images_warning(expected_error: float | None) -> str | None:
    """A sentence when the expected error (median over particles, in s.d. of the denoised image) says that images show
    next to nothing, else None."""
    # The best possible image with an error of 1 - FAINT of the variance has an s.d. of root FAINT of the truth's.
    if expected_error is None or expected_error < ((1 - FAINT) / FAINT) ** 0.5:
        return None
    return (
        f'THE IMAGES SHOW NEXT TO NOTHING: the expected error of the median image is {expected_error:.1f} times its '
        'own contrast. The particles are too noisy for this model, or of another kind than those it was trained on'
    )
