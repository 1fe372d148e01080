"""Limit of a score, chosen on its histogram, with what it is expected to cost."""

import numpy as np
from pyworkflow.gui.dialog import showWarning
from pyworkflow.wizard import Wizard

from .. import figures
from ..convert import provenance_of
from ..engine.data.scores import BY_NAME
from ..engine.errors import InputError
from ..engine.settings.select import NAMES, PROPOSED
from ..engine.trust.selection import choose_limit
from ..protocols.form import camel
from ..protocols.select import CryoEMGANProtSelect
from .dialogs import FigureDialog


def values_of(protocol, score):
    """The values of a score, float64 [n], of the particles of a "select particles" form; None when they have none."""
    sets = [protocol.inputParticles.get(), protocol._given('inputReferences')]
    for particles in (s for s in sets if s is not None):
        first = particles.getFirstItem()
        if first is not None and first.hasAttribute('_' + score.label):
            label = '_' + score.label
            return np.array([i.getAttributeValue(label) for i in particles.iterItems() if i.isEnabled()], np.float64)
    return None


def histogram(protocol, score, values, text):
    """The picture of a limit as it is typed ('' is the proposed one); ValueError says what is wrong with it."""
    threshold = provenance_of(protocol.inputParticles.get()).get('evidence_threshold')
    try:
        limit = choose_limit(score, text or PROPOSED, values, float(threshold) if threshold else None)
    except InputError as e:
        raise ValueError(str(e)) from e
    return figures.selection(values, score, limit.value, limit.sentence)


class LimitWizard(Wizard):
    """Shows the histogram of the score with the limit in it; a click moves the limit."""

    _targets = [(CryoEMGANProtSelect, [camel(name) for name in NAMES])]

    def show(self, form, *params):
        """Open the window; the form gets the limit as it is typed."""
        protocol, name = form.protocol, form.wizParamName
        score = next(BY_NAME[n] for n in NAMES if camel(n) == name)
        values = values_of(protocol, score) if protocol.inputParticles.get() is not None else None
        if values is None:
            showWarning(
                'Nothing to show',
                f'Select particles that have this score ({score.title.lower()}) first: output of "denoise particles", '
                'or for the correlation of "project references".',
                form.root,
            )
            return
        dialog = FigureDialog(
            form.root, score.title, lambda text: histogram(protocol, score, values, text),
            f'Limit (a number, a part such as 10%, or {PROPOSED})', getattr(protocol, name).get('') or PROPOSED,
        )  # fmt: skip
        if dialog.resultYes():
            form.setVar(name, dialog.value)
