"""Simulate particles: a data set with a known truth."""

import os
from enum import Enum

import pyworkflow.protocol.params as params
from pwem.objects import SetOfParticles, SetOfVolumes, Volume

from ..table_import import read_particles
from .base import CryoEMGANProtBase
from .map_input import write_map

PHANTOM, ATOMS, MAPS = 0, 1, 2
# Pages after the first.
CTF = (
    'ctf', 'ctf_table', 'defocus_min', 'defocus_max', 'astigmatism', 'voltage', 'cs', 'amplitude_contrast', 'clean_ctf',
)  # fmt: skip
ERRORS = (
    'shift_sd', 'perturb_angles', 'perturb_shifts', 'contaminate', 'contaminate_fraction', 'contaminate_kind',
    'view_spread', 'per_micrograph', 'scale', 'clip',
)  # fmt: skip


class outputs(Enum):
    outputParticles = SetOfParticles
    outputClean = SetOfParticles
    outputRefined = SetOfParticles
    outputReferences = SetOfParticles
    outputVolumes = SetOfVolumes


# Table of each set of particles, and what it is.
TABLES = {
    'outputParticles': ('noisy', 'simulated particles: noisy'),
    'outputClean': ('clean', 'simulated particles: the truth, without noise'),
    'outputRefined': ('refined', 'simulated particles: noisy, with angles and shifts as a refinement leaves them'),
    'outputReferences': ('references', 'simulated particles: references, some replaced by noise'),
}


class CryoEMGANProtSimulate(CryoEMGANProtBase):
    """Makes particles whose truth is known, from atomic models, maps, or a built-in phantom that needs no file.

    Several models or maps are conformations of one molecule; the class of each particle says which. For trying out
    the protocols, and for finding out how far a denoiser could be trusted with a molecule like yours.
    """

    _label = 'simulate particles'
    _possibleOutputs = outputs
    _verb = 'simulate'
    _from_inputs = ('model', 'volume', 'phantom', 'split')
    _shown_when = {
        'ctf': CTF[1:],
        'contaminate != 0': ('contaminate_fraction', 'contaminate_kind'),
        f'source == {ATOMS}': ('b_factor',),
        f'source != {PHANTOM}': ('interpolation',),
    }

    # --------------------------- DEFINE param functions ----------------------
    def _defineParams(self, form):
        form.addSection(label='Input')
        form.addParam(
            'source',
            params.EnumParam,
            choices=['phantom', 'atomic models', 'maps'],
            default=PHANTOM,
            display=params.EnumParam.DISPLAY_HLIST,
            label='Molecule',
            help='Phantom: a claw of blobs that opens; needs no file. Models or maps: one for each conformation.',
        )
        form.addParam(
            'phantomStates',
            params.IntParam,
            default=3,
            condition=f'source == {PHANTOM}',
            validators=[params.Range(1, 50, 'must be at least 1 and at most 50')],
            label='Conformations',
            help=self._help('phantom'),
        )
        form.addParam(
            'inputModels',
            params.MultiPointerParam,
            pointerClass='AtomStruct',
            allowsNull=True,
            condition=f'source == {ATOMS}',
            label='Atomic models',
            help='One atomic model for each conformation, superposed on each other. All are centred by the first.',
        )
        form.addParam(
            'inputVolumes',
            params.MultiPointerParam,
            pointerClass='Volume',
            allowsNull=True,
            condition=f'source == {MAPS}',
            label='Maps',
            help='One map for each conformation.',
        )
        self._add_settings(form, *self._remaining(*CTF, *ERRORS))
        form.addSection(label='CTF')
        self._add_settings(form, *CTF)
        form.addSection(label='Poses and errors')
        self._add_settings(form, *ERRORS)
        self._define_machine(form)

    # --------------------------- STEPS functions -----------------------------
    def _write_inputs(self):
        for path, volume in self._volumes():
            write_map(volume.getLocation(), path, volume.getSamplingRate())

    def createOutputStep(self, digest):
        made = {}
        for name, (table, comment) in TABLES.items():
            path = self.getRunDir(f'{table}.star')
            if os.path.exists(path):
                made[name] = self._createSetOfParticles(f'_{table}')
                read_particles(path, made[name])
                made[name].setObjComment(comment)
        made[outputs.outputVolumes.name] = self._output_volumes(made[outputs.outputParticles.name].getSamplingRate())
        self._defineOutputs(**made)
        for pointer in self._pointers():
            for output in made.values():
                self._defineSourceRelation(pointer, output)

    def _output_volumes(self, pixel_size):
        """One map a conformation, and last their mean when there are several."""
        volumes = self._createSetOfVolumes()
        summary, volumes_at = self.readSummary(), self.getRunDir
        volumes.setSamplingRate(summary.get('volume_pixel_size') or pixel_size)
        names = {f'volume_{k}.mrc': f'conformation {k}' for k in range(1, 1 + summary['conformations'])}
        names['consensus.mrc'] = 'mean of all conformations: what refining all particles as one gives'
        for name, comment in names.items():
            if os.path.exists(volumes_at(name)):
                volume = Volume()
                volume.setFileName(volumes_at(name))
                volume.setSamplingRate(volumes.getSamplingRate())
                volume.setObjComment(comment)
                volumes.append(volume)
        return volumes

    # --------------------------- INFO functions ------------------------------
    def _validate(self):
        errors, values = super()._validate(), self._form_values()
        if self.source != PHANTOM and not [p for p in self._pointers() if p.get() is not None]:
            errors.append('Select at least one atomic model or map, or choose the phantom.')
        if self.source == ATOMS and 'pixel_size' not in values:
            errors.append('Give the pixel size: an atomic model has none.')
        if values.get('defocus_min', 0) > values.get('defocus_max', 1e9):
            errors.append('"Defocus from" is larger than "Defocus to".')
        if values.get('clip') and values.get('scale') != 'unit':
            errors.append('"Clip" cuts grey values to [0, 1]: choose the scale "unit" with it.')
        return errors

    def _summary_lines(self, summary):
        s = summary['settings']
        return [
            f'{summary["particles"]} particles of {summary["conformations"]} conformations, {s["box"]} px of '
            f'{summary["pixel_size"]:.3g} Å, SNR {s["snr"]:g} ({s["noise"]} noise), '
            f'{"with" if s["ctf"] or s["ctf_table"] else "without"} CTF.',
            'The class of each particle is its true conformation.',
        ]

    def _methods(self):
        return self._summary_lines(self.readSummary())[:1] if self.isFinished() else []

    # --------------------------- UTILS functions -----------------------------
    def _pointers(self):
        """Pointers to the models or maps in use."""
        return list({PHANTOM: [], ATOMS: self.inputModels, MAPS: self.inputVolumes}[self.source.get()])

    def _volumes(self):
        """[(path in the extra folder, Volume)]."""
        chosen = [p.get() for p in self._pointers() if p.get() is not None] if self.source == MAPS else []
        return [(self._getExtraPath(f'map{k}.mrc'), volume) for k, volume in enumerate(chosen, 1)]

    def _input_identity(self):
        return [*super()._input_identity(), self.source.get(), self.phantomStates.get()]

    def _input_settings(self):
        if self.source == PHANTOM:
            return {'phantom': self.phantomStates.get()}
        if self.source == ATOMS:
            return {'model': [os.path.abspath(p.get().getFileName()) for p in self._pointers() if p.get() is not None]}
        settings = {'volume': [os.path.abspath(path) for path, _ in self._volumes()]}
        if 'pixel_size' not in self._form_values():
            settings['pixel_size'] = float(self._volumes()[0][1].getSamplingRate())
        return settings
