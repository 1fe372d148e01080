"""Project references: the refined map as every particle sees it."""

import os
from enum import Enum

import pyworkflow.protocol.params as params
from pwem.objects import SetOfClasses3D, SetOfParticles, Volume

from ..constants import CTF_NONE
from ..convert import state_of
from ..engine.settings.project import AS_PARTICLES
from ..results import Result
from .base import CryoEMGANProtBase, describe_alignment_error
from .map_checks import check_classes, check_maps
from .map_input import class_maps, has_half_sets, own_half_maps, particles_of_classes, write_map
from .pair_checks import check_noisy

REFINEMENT, CLASSIFICATION = 0, 1
HALVES_OF_MAP, HALVES_CHOSEN, HALVES_NOT = 0, 1, 2


class outputs(Enum):
    outputReferences = SetOfParticles
    outputDifference = Volume


class CryoEMGANProtProject(CryoEMGANProtBase):
    """Projects the refined map at every particle's own angles, shifts and CTF.

    The output has one clean reference image for each particle: what the particle would look like without noise if the
    map were right. Pairs of particle and reference train the denoiser. Each reference carries how well the particle
    fits it at its pose (cryoemganPoseFit; 5 % of good particles are below 0.05), what is wrong where it does not
    (cryoemganReason), and their correlation (cryoemganCorrelation). Sort by the pose fit to find junk. Where a part of
    the particles agrees on another state than the map, the difference is a second output.
    """

    _label = 'project references'
    _possibleOutputs = outputs
    _verb = 'project'
    _makes_images = True
    _from_inputs = ('particles', 'volume', 'volume_pixel_size', 'mask', 'half1', 'half2', 'class_volume')

    # --------------------------- DEFINE param functions ----------------------
    def _defineParams(self, form):
        form.addSection(label='Input')
        form.addParam(
            'inputFrom',
            params.EnumParam,
            choices=['a refinement', 'a 3D classification'],
            default=REFINEMENT,
            display=params.EnumParam.DISPLAY_HLIST,
            label='Particles and map from',
            help='A refinement: one map for all particles.\nA 3D classification: each particle gets a projection of '
            'the map of its class, so that the denoiser does not learn to draw all conformations as one.',
        )
        self._add_refinement(
            form,
            "The map of that refinement. Its box and pixel size may differ from the particles': it is resampled.",
            condition=f'inputFrom == {REFINEMENT}',
        )
        self._add_pointer(
            form,
            'inputClasses',
            'SetOfClasses3D',
            condition=f'inputFrom == {CLASSIFICATION}',
            label='3D classes',
            help='Output of a 3D classification. Classes and particles that are disabled are left out.',
        )
        self._define_half_maps(form)
        self._add_mask(form, 'No: the map is used as it is, which is right if it is already masked.')
        form.addSection(label='References')
        self._add_settings(form, 'lowpass', 'ctf', 'invert')
        self._add_settings(form, *self._remaining('lowpass', 'ctf', 'invert'))
        self._define_machine(form)

    def _define_half_maps(self, form):
        form.addParam(
            'halfMaps',
            params.EnumParam,
            choices=['those of the refined map', 'two maps', 'do not use'],
            default=HALVES_OF_MAP,
            condition=f'inputFrom == {REFINEMENT}',
            label='Half maps',
            help=self._help('half1').removeprefix('Unfiltered half map of the same refinement. ') + '\n"Those of the '
            'refined map" are used if the map was imported with its half maps and the particles know their half sets, '
            'as after RELION auto-refinement; otherwise the refined map is used for all particles.',
        )
        for number in (1, 2):
            form.addParam(
                f'inputHalf{number}',
                params.PointerParam,
                pointerClass='Volume',
                condition=f'inputFrom == {REFINEMENT} and halfMaps == {HALVES_CHOSEN}',
                label=f'Half map {number}',
                help=f'The unfiltered map of half set {number}.',
            )

    # --------------------------- STEPS functions -----------------------------
    def _write_inputs(self):
        particles = self._particles()
        self._write_input(particles, 'particles.star')
        for name, location in self._maps().items():
            write_map(location, self._getExtraPath(name))
        if self.useMask:
            write_map(self.inputMask.get().getLocation(), self._getExtraPath('mask.mrc'))

    def createOutputStep(self, digest):
        result = Result(self.getRunDir('references.star'))
        references = self._filled('_references', self._particles(), result, result.ctf or self._ctf())
        references.setObjComment("projections of the refined map at the particles' angles")
        self._defineOutputs(**{outputs.outputReferences.name: references})
        if self._from_classes():
            self._defineSourceRelation(self.inputClasses, references)
            return
        self._define_difference()
        used = [self.inputVolume] + [self.inputHalf1, self.inputHalf2] * (self.halfMaps == HALVES_CHOSEN)
        for pointer in used:
            self._defineSourceRelation(pointer, references)
        self._defineTransformRelation(self.inputParticles, references)

    def _define_difference(self):
        """The difference of another state to the map, where the particles show one."""
        path = self.getRunDir('another_state.mrc')
        if not os.path.exists(path):
            return
        difference = Volume(location=path)
        difference.setSamplingRate(self.inputVolume.get().getSamplingRate())
        difference.setObjComment('what some of the particles have more or less of than the map')
        self._defineOutputs(**{outputs.outputDifference.name: difference})
        self._defineSourceRelation(self.inputParticles, difference)

    # --------------------------- INFO functions ------------------------------
    def _validate(self):
        errors = super()._validate()
        maps, particles = self._volumes(), self._given_particles()
        if not isinstance(particles, SetOfParticles) or not maps:
            return errors
        if self._from_classes():
            errors += check_classes(self.inputClasses.get())
        else:
            problem = describe_alignment_error(particles)
            errors += [problem] if problem else []
            errors += check_noisy(particles, 'Input particles')
            first, second = self._given('inputHalf1'), self._given('inputHalf2')
            if None not in (first, second) and self.inputHalf1.getUniqueId() == self.inputHalf2.getUniqueId():
                errors.append('*Half map 1* and *Half map 2* are the same map.')
            if self.halfMaps == HALVES_CHOSEN and not has_half_sets(particles):
                errors.append(
                    'The particles do not say which half set they belong to (_rlnRandomSubset): take the particles of '
                    'the refinement that made the half maps, or do not use half maps.'
                )
        errors += check_maps(maps, particles, self._given('inputMask'))
        if self._ctf() != CTF_NONE and not particles.hasCTF():
            errors.append(
                f'The particles have no CTF, so the references cannot hold it ({self._ctf()}). Estimate it '
                f'first, or choose "{CTF_NONE}" for particles that never had one.'
            )
        return errors

    def _warnings(self):
        particles = self._given_particles()
        if particles is None:
            return []
        state, warnings = state_of(particles), []
        if self._ctf() not in (state, CTF_NONE, AS_PARTICLES):
            warnings.append(
                f'The particles hold the CTF as "{state}", the references would as "{self._ctf()}": choose '
                f'"{AS_PARTICLES}".'
            )
        volume = self.inputVolume.get()
        own = not self._from_classes() and self.halfMaps == HALVES_OF_MAP and volume is not None
        if own and own_half_maps(volume) and not self._half_maps():
            warnings.append(
                'The map has half maps, but the particles do not say which half set they belong to '
                '(_rlnRandomSubset): the refined map is used for all of them.'
            )
        if self.lowpass.get() is None and not self._half_maps():
            warnings.append(
                'No low-pass: noise of the map beyond its resolution goes into the references. Give the '
                'FSC 0.143 resolution of the refinement, unless the map is filtered already.'
            )
        return warnings

    def _summary_lines(self, summary):
        lowpass = f', low-pass {summary["lowpass"]:.1f} Å' if summary.get('lowpass') else ''
        lines = [
            f'{summary["particles"]} projections, {summary["box"]} px of {summary["pixel_size"]:.2f} Å; CTF in the '
            f'references: {summary["ctf"]}{lowpass}.'
        ]
        counts = summary.get('per_map') or []
        if summary.get('half_map_resolution'):
            lines.append(
                f'From half maps: {counts[0]} and {counts[1]} particles; the half maps agree to '
                f'{summary["half_map_resolution"]:.1f} Å.'
            )
        elif len(counts) > 1:
            lines.append(f'Each from the map of its class: {", ".join(map(str, counts))} particles.')
        found = summary.get('correlation')
        if found:
            lines.append(
                f'Correlation with the particles, below {found["resolution"]:.0f} Å: {found["mean"]:.2f} (with '
                f"another particle's reference: {found['shuffled_mean']:.2f})."
            )
        state = summary.get('other_state') or {}
        said = (summary.get('pose_fit'), state.get('statement'))
        return [*lines, *(f'{s[0].upper()}{s[1:].rstrip(".")}.' for s in said if s)]

    def _methods(self):
        summary = self.readSummary()
        if not summary:
            return []
        lowpass = f', low-passed at {summary["lowpass"]:.1f} Å,' if summary.get('lowpass') else ''
        which = 'The refined map was'
        if summary.get('half_map_resolution'):
            which = 'For each particle the half map of its own half set was'
        elif self._from_classes():
            which = 'For each particle the map of its 3D class was'
        return [
            f'{which} projected{lowpass} at the refined angles and shifts of '
            f'{summary["particles"]} particles (Fourier slices, {summary["settings"]["interpolation"]} '
            f'interpolation; CTF: {summary["ctf"]}).'
        ]

    # --------------------------- UTILS functions -----------------------------
    def _from_classes(self):
        return self.inputFrom == CLASSIFICATION

    def _given_particles(self):
        """The set that the form points to: particles, or those that were classified; or None."""
        if self._from_classes():
            classes = self.inputClasses.get()
            return classes.getImages() if isinstance(classes, SetOfClasses3D) else None
        return self.inputParticles.get()

    def _particles(self):
        """The particles to project: those of the form, or those of the classes with the classes' angles."""
        if not self._from_classes():
            return self.inputParticles.get()
        return particles_of_classes(self.inputClasses.get(), self._getExtraPath('of_classes.sqlite'))

    def _volumes(self):
        """The Volumes of the form."""
        if self._from_classes():
            classes = self.inputClasses.get()
            return list(class_maps(classes).values()) if isinstance(classes, SetOfClasses3D) else []
        pointers = [self.inputVolume] + [self.inputHalf1, self.inputHalf2] * (self.halfMaps == HALVES_CHOSEN)
        return [p.get() for p in pointers if p.get() is not None]

    def _half_maps(self):
        """Locations of both half maps, or []."""
        if self._from_classes() or self.halfMaps == HALVES_NOT:
            return []
        if self.halfMaps == HALVES_CHOSEN:
            return [p.get().getLocation() for p in (self.inputHalf1, self.inputHalf2) if p.get() is not None]
        volume, particles = self.inputVolume.get(), self.inputParticles.get()
        if volume is None or particles is None or not has_half_sets(particles):
            return []
        return [(1, name) for name in own_half_maps(volume)]

    def _maps(self):
        """{file name in the extra folder: location} of all maps that the engine gets."""
        if self._from_classes():
            return {f'class{number}.mrc': m.getLocation() for number, m in class_maps(self.inputClasses.get()).items()}
        halves = {f'half{k}.mrc': location for k, location in enumerate(self._half_maps(), 1)}
        return {'volume.mrc': self.inputVolume.get().getLocation(), **halves}

    def _input_identity(self):
        return [*super()._input_identity(), self.inputFrom.get(), self.halfMaps.get()]

    def _input_settings(self):
        settings = {
            'particles': self._engine_path('particles.star'),
            # Scipion's pixel size rules: headers are often empty.
            'volume_pixel_size': float(self._volumes()[0].getSamplingRate()),
        }
        for name in self._maps():
            setting = name.removesuffix('.mrc')
            if setting.startswith('class'):
                value = f'{setting.removeprefix("class")}={self._engine_path(name)}'
                settings.setdefault('class_volume', []).append(value)
            else:
                settings[setting] = self._engine_path(name)
        if self.useMask:
            settings['mask'] = self._engine_path('mask.mrc')
        return settings

    def _ctf(self):
        return self._form_values().get('ctf')
