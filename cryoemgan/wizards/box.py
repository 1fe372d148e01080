"""Box of the network, taken over from the particles."""

from pyworkflow.gui.dialog import showWarning
from pyworkflow.wizard import Wizard

from ..protocols.train import CryoEMGANProtTrain
from .dialogs import ChoiceDialog

# Parts of the particles' box, and what each of them means.
PARTS = ((1, 'as the particles'), (0.75, 'three quarters'), (0.5, 'half'))
SMALLEST, STEP = 32, 16


def boxes(particles):
    """[(box in px, line for a person)] that a network can have for a set: multiples of 16 px, largest first."""
    box, pixel = particles.getXDim(), particles.getSamplingRate()
    found = {}
    for part, words in PARTS:
        size = max(SMALLEST, round(part * box / STEP) * STEP)
        # Two pixels of the network are the finest detail that it can show.
        found.setdefault(size, f'{size:4d} px  ({words}): detail down to {2 * box * pixel / size:.1f} Å')
    return list(found.items())


class BoxWizard(Wizard):
    """Boxes that fit the particles, with the finest detail that each can show."""

    _targets = [(CryoEMGANProtTrain, ['box'])]

    def show(self, form, *params):
        """Open the window; the form gets the box in px."""
        particles = form.protocol.inputParticles.get()
        if particles is None or not particles.getSize():
            showWarning('No particles', 'Select the noisy particles first.', form.root)
            return
        found = boxes(particles)
        dialog = ChoiceDialog(
            form.root,
            'Box of the network',
            f'The particles have {particles.getXDim()} px of {particles.getSamplingRate():.3g} Å. A smaller box trains '
            'several times faster, and shows less detail.',
            [line for _, line in found],
        )
        if dialog.resultYes() and dialog.chosen:
            form.setVar('box', found[dialog.chosen[0]][0])
