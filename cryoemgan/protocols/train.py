"""Train denoiser: a network learns references from particles."""

import os
from enum import Enum

from pwem.objects import SetOfAverages, SetOfParticles

from ..engine import costs
from ..engine.settings.train import LENGTHS, preset_values
from ..figures.style import read_columns
from ..objects import DenoiserModel
from .base import CryoEMGANProtBase
from .class_averages import define_averages
from .map_input import has_half_sets, write_map
from .model_choice import describe_replaced
from .pair_checks import check_ctf_known, check_noise_images, check_noisy, check_pairs, check_references
from .train_form import GUIDED, TrainForm

PARTNERS = {
    'references': 'projections of the refined map',
    'self': 'no other data ([Pang2021], with templates by expectation maximisation [Scheres2005], or [Batson2019])',
    'copies': 'second noisy copies of them [Lehtinen2018]',
}


class outputs(Enum):
    outputModel = DenoiserModel
    outputAverages = SetOfAverages


class CryoEMGANProtTrain(TrainForm, CryoEMGANProtBase):
    """Trains a network that removes the noise from particles of one molecule.

    The network learns from pairs of a particle and its reference projection, or, map-free, from the particles alone.
    Some particles are kept out of training to find its best state. A run that was stopped continues from its last
    checkpoint. Denoised images are for viewing, sorting and clustering, not for the final reconstruction.
    """

    _label = 'train denoiser'
    _possibleOutputs = outputs
    _verb = 'train'
    _from_inputs = ('particles', 'target', 'references', 'copies', 'init', 'volume', 'noise_particles')
    # A longer training goes on from the checkpoint of the shorter one.
    _may_change = (*LENGTHS, 'keep', 'patience')

    # --------------------------- STEPS functions -----------------------------
    def _write_inputs(self):
        self._write_input(self.inputParticles.get(), 'particles.star')
        for setting, pointer in self._partner().items():
            self._write_input(pointer.get(), f'{setting}.star')
        if self._noise() is not None:
            self._write_input(self._noise(), 'noise.star')
        for path, volume in self._maps():
            write_map(volume.getLocation(), path, volume.getSamplingRate())

    def createOutputStep(self, digest):
        model = DenoiserModel.fromFolder(self.getModelDir())
        self._defineOutputs(**{outputs.outputModel.name: model})
        self._defineSourceRelation(self.inputParticles, model)
        define_averages(self, self.getRunDir())
        for pointer in self._partner().values():
            self._defineSourceRelation(pointer, model)
        if self.fromModel:
            self._defineSourceRelation(self.inputModel, model)
        for pointer in self._map_pointers():
            self._defineSourceRelation(pointer, model)
        if self._noise() is not None:
            self._defineSourceRelation(self.inputNoiseParticles, model)

    # --------------------------- INFO functions ------------------------------
    def _validate(self):
        errors = super()._validate()
        particles = self.inputParticles.get()
        if not isinstance(particles, SetOfParticles):
            return errors
        errors += check_noisy(particles, 'Noisy particles')
        for setting, pointer in self._partner().items():
            errors += self._check_partner(setting, pointer)
        if self._form_values().get('cross_fit') == 'halves' and not has_half_sets(particles):
            errors.append(
                'Cross-fitting is set to "halves", but the particles have no half sets (_rlnRandomSubset): use the '
                'particles of a refinement, or choose "folds".'
            )
        if self._noise() is not None and not self._form_values().get('fresh_fraction'):
            errors.append(
                f'Noise images are used for fresh pairs only: set {self.where("fresh_fraction")}, for example to 0.5.'
            )
        noise = self.inputNoiseParticles if self._noise() is not None else None
        errors += check_noise_images(
            noise, {'Noisy particles': self.inputParticles, 'References': self.inputReferences}
        )
        model = self._start_model()
        return errors if model is None else errors + describe_replaced(model)

    def _check_partner(self, setting, pointer):
        """Errors of the set that particles are paired with."""
        words = {'references': 'references', 'copies': 'second copies'}[setting]
        if not isinstance(pointer.get(), SetOfParticles):
            return [f'No {words} given. To train without a map, choose "map-free" in "Network".']
        if self.inputParticles.getUniqueId() == pointer.getUniqueId():
            return [f'Particles and {words} are the same set: the network would only learn to copy.']
        wrong = self._check_references(pointer.get()) if setting == 'references' else []
        return wrong or check_pairs(self.inputParticles.get(), pointer.get())

    def _check_references(self, references):
        wrong = check_references(references)
        if self.approach == GUIDED:
            wrong += check_ctf_known(references, 'a network guided by the map')
        elif self._form_values().get('fresh_fraction'):
            wrong += check_ctf_known(references, 'whoever makes fresh pairs')
        return wrong

    def _warnings(self):
        particles = self.inputParticles.get()
        references = next((p.get() for p in self._partner().values()), particles)
        if particles is None or references is None:
            return []
        warnings = []
        if references.getSize() < particles.getSize():
            warnings.append(
                f'There are {particles.getSize()} particles, but only {references.getSize()} references: particles '
                'without a reference are left out.'
            )
        if min(particles.getSize(), references.getSize()) < 500:
            warnings.append(
                'Fewer than 500 pairs: the network may overfit. Compare the curves of training and validation.'
            )
        if self._form_values().get('cross_fit') == 'none':
            warnings.append(
                'No cross-fitting: the denoiser will repeat some of the noise of the particles that it was trained on. '
                'Judge it on other particles.'
            )
        return warnings

    def _cost_lines(self):
        values, particles = self._form_values(), self._particles_there()
        if particles is None:
            return []
        usual = preset_values(values['preset'], values.get('network'), values['target'])
        counted = values.get('epochs') or values.get('iterations') or not usual.get('minutes')
        minutes = values.get('minutes') or (None if counted else usual['minutes'])
        mode, folds = values['cross_fit'], values.get('folds', 2)
        halves = mode == 'halves' or (mode == 'auto' and has_half_sets(particles))
        models = 1 if mode == 'none' else 2 if halves else folds
        box = values.get('box') or particles.getXDim()
        said = costs.of_training(particles.getSize(), box, models, minutes, usual['network'] == 'guided')
        return [f'{said[0].upper()}{said[1:]}.']

    def _progress_lines(self):
        """Where a training stands, from the last row of its metrics."""
        try:
            columns = read_columns(self.getRunDir('metrics.csv'))
            last = {name: values[-1] for name, values in columns.items()}
            return [
                *super()._progress_lines(),
                f'Iteration {last["iteration"]:.0f}: MSE {last["mse"]:.3g} on particles kept out of training. "Analyze '
                'results" shows the curves.',
            ]
        except (OSError, KeyError, IndexError):
            return super()._progress_lines()

    def _summary_lines(self, summary):
        best, members = summary.get('best') or {}, (summary.get('cross_fit') or {}).get('members') or []
        lines = [
            f'{summary.get("generator_parameters", 0):,} parameters, {summary.get("iterations", 0):,} iterations '
            f'in {summary["wall_seconds"] / 60:.1f} minutes on {summary.get("device", "?")} '
            f'({summary.get("precision", "?")}).'
        ]
        if best:
            lines.append(
                f'Best at iteration {best.get("iteration")}, on particles kept out of training: '
                + ', '.join(
                    f'{label} {best[key]:{digits}}'
                    for key, label, digits in (
                        ('mse', 'MSE', '.3g'),
                        ('psnr', 'PSNR (dB)', '.2f'),
                        ('ssim', 'SSIM', '.3f'),
                    )
                    if best.get(key) is not None
                )
                + '.'
            )
        if advice := summary.get('advice'):
            lines.append(f'{advice.rstrip(".")}.')
        top = (next(iter(summary.get('members', {}).values()), summary)).get('top', [])
        if len(top) > 1:
            lines.append(
                f'The best {len(top)} evaluations: mean MSE {summary["top_mse_mean"]:.3g}, '
                f'standard deviation {summary["top_mse_sd"]:.2g}.'
            )
        if len(members) > 1:
            lines.append(
                f'Cross-fitted: {len(members)} fold models ({", ".join(members)}). Each particle is denoised by those '
                'that were not trained on it.'
            )
        return lines

    def _methods(self):
        summary = self.readSummary()
        if not summary:
            return []
        s = summary['settings']
        gan = 'without adversary' if s.get('gan') == 'none' else f'with the {s.get("gan")} adversary'
        return [
            f'A denoiser (network {s.get("network")}, l{s.get("p")} reconstruction {gan}; [Gu2020], [Gu2023]) was '
            f'trained on {self.inputParticles.get().getSize()} particles and {PARTNERS[s.get("target", "references")]}.'
        ]

    # --------------------------- UTILS functions -----------------------------
    def _partner(self):
        """{setting: pointer} of the set that the particles are paired with; none when they teach themselves."""
        target = self._form_values()['target']
        return {
            'references': {'references': self.inputReferences},
            'copies': {'copies': self.inputCopies},
        }.get(target, {})

    def _stand_ins(self):
        return {**super()._stand_ins(), **{setting: os.curdir for setting in self._partner()}}

    def getModelDir(self):
        """Folder of the trained model, relative to the project."""
        return self.getRunDir('model')

    def _map_pointers(self):
        """Pointers to the maps beside the references."""
        return [p for p in self.inputVolumes if p.get() is not None] if self.evalParamCondition('inputVolumes') else []

    def _maps(self):
        """[(path in the extra folder, Volume)] of the maps beside the references."""
        return [(self._getExtraPath(f'map{k}.mrc'), p.get()) for k, p in enumerate(self._map_pointers(), 1)]

    def _noise(self):
        """The noise images for fresh pairs, or None."""
        return self._given('inputNoiseParticles')

    def _start_model(self):
        """The model to start from, or None."""
        return self._given('inputModel')

    def _input_settings(self):
        settings = {name: self._engine_path(f'{name}.star') for name in ('particles', *self._partner())}
        if self._maps():
            settings['volume'] = [os.path.abspath(path) for path, _ in self._maps()]
        if self._noise() is not None:
            settings['noise_particles'] = self._engine_path('noise.star')
        model = self._start_model()
        if model is not None:
            # What the form leaves open is the model's, not the preset's.
            own = {'network': model.getNetwork(), 'box': model.getBox()}
            settings.update(
                {k: v for k, v in own.items() if k not in self._form_values()}, init=os.path.abspath(model.getFolder())
            )
        return settings
