"""Evaluate denoising: numbers and pictures, against references."""

import itertools
import json
import re
from pathlib import Path

import pyworkflow.protocol.params as params
from pwem.objects import SetOfParticles

from ..engine.files import write_json
from .base import CryoEMGANProtBase
from .pair_checks import share_ids

NOISY, SETS = 'noisy', 'sets.json'
# (key of the summary, name, format)
SHOWN = (('mse', 'MSE', '.3g'), ('psnr', 'PSNR', '.2f'), ('ssim', 'SSIM', '.3f'))


class CryoEMGANProtEvaluate(CryoEMGANProtBase):
    """Compares denoised particles (and the noisy ones) with references, particle by particle.

    Mean squared error, PSNR, SSIM and correlation, with and without fitting the grey scale, and Fourier ring
    correlation. Against projections of the map they say how closely the denoised images repeat the map, not how true
    they are: for that, use the clean images of a simulation, or particles and maps that were kept out of training.
    """

    _label = 'evaluate denoising'
    _verb = 'evaluate'
    _from_inputs = ('particles', 'references')

    # --------------------------- DEFINE param functions ----------------------
    def _defineParams(self, form):
        form.addSection(label='Input')
        form.addParam(
            'inputDenoised',
            params.MultiPointerParam,
            pointerClass='SetOfParticles',
            important=True,
            minNumObjects=1,
            label='Denoised particles',
            help='One or more sets, for example from several models. Only particles that all sets share are compared.',
        )
        self._add_particles(
            form,
            'inputReferences',
            label='References',
            help='Output of "project references", or the true images of a simulation.',
        )
        self._add_asked(
            form,
            'addNoisy',
            'Include the noisy particles?',
            lambda condition: self._add_particles(
                form,
                'inputParticles',
                important=True,
                condition=condition,
                label='Noisy particles',
                help='The set that was denoised.',
            ),
            help='Yes: they are the first row of the table and the first picture of each row in the gallery.',
        )
        self._add_settings(form, *self._remaining())
        self._define_machine(form, gpu=False)

    # --------------------------- STEPS functions -----------------------------
    def _write_inputs(self):
        self._write_input(self.inputReferences.get(), 'references.star')
        for name, pointer in self._sets():
            self._write_input(pointer.get(), f'{name}.star')
        # Names follow the runs' labels, which may change later.
        write_json(self._getExtraPath(SETS), [name for name, _ in self._sets()])

    def createOutputStep(self, digest):
        """The result is the summary, the tables and the pictures; there is no set to define."""

    # --------------------------- INFO functions ------------------------------
    def _validate(self):
        errors = super()._validate()
        references = self.inputReferences.get()
        if not isinstance(references, SetOfParticles):
            return errors
        width = references.getXDim() * references.getSamplingRate()
        for name, pointer in self._sets():
            item = pointer.get()
            if not isinstance(item, SetOfParticles):
                continue
            if abs(item.getXDim() * item.getSamplingRate() - width) > 0.02 * width:
                errors.append(
                    f'{name} ({item.getXDim()} px of {item.getSamplingRate():g} Å) and the references '
                    f'({references.getXDim()} px of {references.getSamplingRate():g} Å) show fields of '
                    'different width.'
                )
            if not share_ids(item, references):
                errors.append(f'{name} and the references have no particle in common (by id).')
        return errors

    def _summary_lines(self, summary):
        lines = []
        for name, values in (summary.get('methods') or {}).items():
            fitted = ', '.join(f'{label} {values["affine"][key]["mean"]:{form}}' for key, label, form in SHOWN)
            raw = ', '.join(f'{label} {values[key]["mean"]:{form}}' for key, label, form in SHOWN)
            cut = f'{values["frc_0.5"]:.1f} Å' if values.get('frc_0.5') else 'never reached'
            lines.append(
                f'{name}: {fitted} after an affine fit ({raw} without); NCC {values["ncc"]["mean"]:.3f}; FRC 0.5: {cut}'
            )
        return lines

    def _methods(self):
        if not self.isFinished():
            return []
        return [
            'Denoised particles were compared with the references by MSE, PSNR, SSIM, normalised '
            'cross-correlation and Fourier ring correlation.'
        ]

    # --------------------------- UTILS functions -----------------------------
    def _sets(self):
        """[(name, pointer)]: the sets to compare, noisy particles first; names are unique and fit a file name."""
        sets = [(NOISY, self.inputParticles)] if self.addNoisy else []
        for pointer in self.inputDenoised:
            maker = pointer.getObjValue()
            text = maker.getRunName() if hasattr(maker, 'getRunName') else str(maker)
            name = re.sub(r'[^\w.-]+', '_', text.removeprefix('cryoemgan - '), flags=re.ASCII).strip('_')[:40]
            taken = {n for n, _ in sets} | {'references', ''}
            again = next(k for k in itertools.count(1) if (f'{name}_{k}' if k > 1 else name) not in taken)
            sets.append((f'{name}_{again}' if again > 1 else name, pointer))
        return sets

    def getSets(self):
        """Names of the sets that were compared."""
        try:
            return json.loads(Path(self._getExtraPath(SETS)).read_text(encoding='utf-8'))
        except (OSError, ValueError):
            return [name for name, _ in self._sets()]

    def _input_settings(self):
        return {
            'references': self._engine_path('references.star'),
            'particles': [f'{name}={self._engine_path(f"{name}.star")}' for name, _ in self._sets()],
        }
