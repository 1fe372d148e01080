"""Does a model show anything? How far its images of different particles differ, against how far they should.

Early in training a network gives the mean image whatever it sees: a local minimum with an ordinary error, a smooth
particle in every picture, and no information. Before that, its images are further from the truth than the mean image.
"""

import numpy as np

# Part of the references' variance between particles below which all images are practically the same.
BLANK = 0.01


class CollapseCheck:
    """Moments of a stream of batches of images and of what they should be."""

    def __init__(self):
        self.count, self.error = 0, 0.0
        self.sums = {'images': [0.0, 0.0], 'truth': [0.0, 0.0]}

    def add(self, images, truth):
        """One batch, [n, box, box] each."""
        self.count += len(images)
        for name, x in (('images', images), ('truth', truth)):
            self.sums[name][0] += x.sum(0, dtype=np.float64)
            self.sums[name][1] += np.square(x, dtype=np.float64).sum()
        self.error += np.square(images - truth, dtype=np.float64).sum()

    def measured(self):
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


def warning(card):
    """A sentence when the model of this card (or of these results of ``assess``) shows nothing, else None."""
    found = card.get('shown')
    if not found or (found['variance'] >= BLANK and found['error'] < 1):
        return None
    if found['variance'] < BLANK:
        why = f'it gives the same image for all particles ({found["variance"]:.2%} of the variance between references)'
    else:
        why = (
            f'its images of particles kept out of training are {found["error"]:.1f} times as far from the references '
            '(squared) as one mean image for all would be'
        )
    return (
        f'THE MODEL SHOWS NOTHING: {why}. Train longer (more --minutes or --iterations); if that does not help, lower '
        'the learning rate, and look whether particles and references belong together'
    )
