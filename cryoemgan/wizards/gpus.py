"""GPUs of this machine, to choose from."""

import subprocess

from pyworkflow.gui.dialog import showWarning
from pyworkflow.wizard import Wizard

from .. import protocols
from .dialogs import ChoiceDialog

QUERY = ['nvidia-smi', '--query-gpu=index,name,memory.total,memory.used,utilization.gpu', '--format=csv,noheader']


def list_gpus():
    """[(id as text, line for a person)] of the GPUs that nvidia-smi sees; RuntimeError says why there is none."""
    try:
        said = subprocess.run(QUERY, capture_output=True, text=True, timeout=20, check=True).stdout
    except FileNotFoundError as e:
        raise RuntimeError('This machine has no NVIDIA driver (nvidia-smi): runs use the processor here.') from e
    except (subprocess.SubprocessError, OSError) as e:
        raise RuntimeError(f'nvidia-smi does not answer ({e}): ask who looks after this machine.') from e
    rows = [[cell.strip() for cell in line.split(',')] for line in said.splitlines() if line.strip()]
    if not rows:
        raise RuntimeError('nvidia-smi sees no GPU: runs use the processor here.')
    return [(row[0], f'{row[0]}: {row[1]}, {row[2]}, {row[3]} and {row[4]} in use') for row in rows]


class GpuWizard(Wizard):
    """Ids for the field in the header of the form, which has no room for a wizard of its own."""

    _targets = [
        (cls, ['machineGpus'])
        for cls in (getattr(protocols, name) for name in protocols.__all__)
        if cls().hasAttribute('gpuList')
    ]

    def show(self, form, *params):
        """Open the window; the form gets the ids."""
        try:
            found = list_gpus()
        except RuntimeError as e:
            showWarning('No GPU', str(e), form.root)
            return
        dialog = ChoiceDialog(
            form.root, 'GPUs of this machine', 'A queue may run the protocol on another machine.',
            [line for _, line in found], several=True,
        )  # fmt: skip
        if dialog.resultYes() and dialog.chosen:
            form.useGpuVar.set(True)
            form.gpuListVar.set(','.join(found[k][0] for k in dialog.chosen))
