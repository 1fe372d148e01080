"""The mask on the map, before anything is computed with it."""

from pwem.emlib.image import ImageHandler
from pyworkflow.gui.dialog import showWarning
from pyworkflow.wizard import Wizard

from .. import figures
from ..protocols.project import CryoEMGANProtProject
from ..protocols.report import CryoEMGANProtReport
from .dialogs import FigureDialog


def picture(protocol):
    """The figure of the map and the mask of a form; ValueError says what is missing, or does not fit."""
    volume, mask = protocol.inputVolume.get(), protocol.inputMask.get()
    if volume is None or mask is None:
        raise ValueError('Select the refined map and the mask first.')
    return figures.mask_on_map(*(ImageHandler().read(v.getLocation()).getData() for v in (volume, mask)))


class MaskWizard(Wizard):
    """Central slices of the map with the outline of the mask, and how much of the map is inside."""

    _targets = [(cls, ['inputMask']) for cls in (CryoEMGANProtProject, CryoEMGANProtReport)]

    def show(self, form, *params):
        """Open the window; the form stays as it is."""
        try:
            figure = picture(form.protocol)
        except ValueError as e:
            showWarning('Nothing to show', str(e), form.root)
            return
        FigureDialog(form.root, 'Mask on the map', lambda text: figure)
