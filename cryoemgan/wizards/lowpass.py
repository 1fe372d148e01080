"""Low-pass of the map, chosen on a slice of it."""

from pwem.constants import FILTER_LOW_PASS_NO_DECAY, UNIT_ANGSTROM
from pwem.wizards import FilterVolumesWizard
from pwem.wizards.wizard import BandPassFilterDialog
from pyworkflow.gui.dialog import showWarning

from ..protocols.project import CryoEMGANProtProject


class LowPassWizard(FilterVolumesWizard):
    """Shows the refined map as it is and low-passed, with a slider."""

    _targets = [(CryoEMGANProtProject, ['lowpass'])]

    def _getProvider(self, protocol):
        return self._getListProvider(protocol.inputVolume)

    def show(self, form, *args):
        """Open the dialog; the form gets the resolution in A."""
        protocol = form.protocol
        provider = self._getProvider(protocol)
        if provider is None:
            showWarning('No map', 'Select the refined map first.', form.root)
            return
        start = protocol.lowpass.get() or 4 * protocol.inputVolume.get().getSamplingRate()
        dialog = BandPassFilterDialog(
            form.root,
            provider,
            mode=FILTER_LOW_PASS_NO_DECAY,
            unit=UNIT_ANGSTROM,
            highFreq=start,
            showLowFreq=False,
            showDecay=False,
        )
        if dialog.resultYes():
            form.setVar('lowpass', round(dialog.samplingRate / dialog.getHighFreq(), 2))
