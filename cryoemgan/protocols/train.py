"""Train denoiser: a network learns references from particles."""

import os
from enum import Enum

import pyworkflow.protocol.params as params
from pwem.objects import SetOfParticles

from ..engine.settings.train import LENGTHS, preset_values
from ..figures.style import read_columns
from ..objects import DenoiserModel
from .base import CryoEMGANProtBase
from .form import OPEN_CHOICE
from .map_input import has_half_sets, write_map

# Fields that only some adversaries have (indices of the list in the form are looked up by name).
ADVERSARY_ONLY = {'beta': ('alpha', 'beta'), 'wgan-gp': ('gradient_penalty', 'critic_scale')}
LENGTH = ('epochs', 'iterations', 'minutes', 'batch_size', 'box')
NETWORK = ('network', 'gan', 'alpha', 'beta', 'p', 'reconstruction_weight')
CROSS_FITTING = ('cross_fit', 'folds')
# Fields of one kind of network.
NETWORK_ONLY = {
    'guided': ('bank_size', 'candidates', 'contrast_spread', 'shift_range', 'pose_prior'),
}
# Fields that only some targets have.
TARGET_ONLY = {
    'self': ('hidden_pixels',),
    'references': ('min_agreement', 'invert_contrast', 'force', 'fresh_fraction', 'noise_curriculum', 'exchange_noise',
                   'contaminate', 'contaminate_fraction', 'contaminate_noise'),
}  # fmt: skip
# Groups of the last page; a setting that is in none of them comes after them.
DETAILS = {
    'Adversary': ('gradient_penalty', 'critic_scale', 'patch_reduction', 'discriminator_steps', 'generator_steps'),
    'Optimiser': (
        'learning_rate_generator',
        'learning_rate_discriminator',
        'adam_beta1',
        'adam_beta2',
        'schedule',
        'warmup',
        'ema',
        'clip',
        'precision',
    ),
    'Guided network': NETWORK_ONLY['guided'],
    'Data': (
        'hidden_pixels',
        'min_agreement',
        'invert_contrast',
        'force',
        'fresh_fraction',
        'noise_curriculum',
        'turns',
        'shift',
        'exchange_noise',
        'shuffle',
    ),
    'Validation': ('validation_fraction', 'evaluations', 'patience', 'keep'),
    'Robustness experiment': ('contaminate', 'contaminate_fraction', 'contaminate_noise'),
}


PARTNERS = {
    'references': 'projections of the refined map',
    'self': 'nothing else (blind spots [Batson2019])',
    'copies': 'second noisy copies of them [Lehtinen2018]',
}


class outputs(Enum):
    outputModel = DenoiserModel


class CryoEMGANProtTrain(CryoEMGANProtBase):
    """Trains a network that turns a noisy particle into its reference projection.

    Pairs are matched by the particle's identity. A part of the particles is kept out to choose the best state of the
    network. Stop and Continue go on from the last checkpoint. The model is for viewing, sorting and clustering.
    """

    _label = 'train denoiser'
    _possibleOutputs = outputs
    _verb = 'train'
    _from_inputs = ('particles', 'references', 'copies', 'init', 'volume', 'noise_particles', 'devices', 'nodes')
    # A longer training goes on from the checkpoint of the shorter one.
    _may_change = (*LENGTHS, 'keep', 'patience')

    # --------------------------- DEFINE param functions ----------------------
    def _defineParams(self, form):
        form.addSection(label='Input')
        form.addParam(
            'inputParticles',
            params.PointerParam,
            pointerClass='SetOfParticles',
            important=True,
            label='Noisy particles',
            help='The particles to learn from, as they were refined. A subset is '
            'enough: 2,000 to 20,000; more lower the error slowly.',
        )
        self._add_settings(form, 'target')
        form.addParam(
            'inputReferences',
            params.PointerParam,
            pointerClass='SetOfParticles',
            important=True,
            allowsNull=True,
            condition=self._when('target', 'references'),
            label='References',
            help='Output of "project references" for these particles (or for a set '
            'that contains them). Pairs are found by identity, not by order.',
        )
        form.addParam(
            'inputCopies',
            params.PointerParam,
            pointerClass='SetOfParticles',
            important=True,
            allowsNull=True,
            condition=self._when('target', 'copies'),
            label='Second copies',
            help=self._help('copies'),
        )
        # Asked for, as Scipion fills a pointer by itself with any model at hand.
        form.addParam(
            'fromModel',
            params.BooleanParam,
            default=False,
            label='Continue from a model?',
            help='Yes: start from the weights of a trained model, to train it longer or to adapt it to new '
            'particles. The model itself is not changed. After Stop, do not use this: Continue the run.',
        )
        form.addParam(
            'inputModel',
            params.PointerParam,
            pointerClass='DenoiserModel',
            condition='fromModel',
            label='Model',
            help='Its network and box are taken where the form leaves them open.',
        )
        if self._takes_maps():
            form.addParam(
                'inputVolumes',
                params.MultiPointerParam,
                pointerClass='Volume',
                allowsNull=True,
                condition=self._when('target', 'references'),
                label='Maps (optional)',
                help=self._help('volume'),
            )
        form.addParam(
            'inputNoise',
            params.PointerParam,
            pointerClass='SetOfParticles',
            allowsNull=True,
            expertLevel=params.LEVEL_ADVANCED,
            label='Images of noise (optional)',
            help=self._help('noise_particles'),
        )
        self._add_settings(form, 'preset')
        form.addSection(label='Training')
        self._add_in_group(form.addGroup('Length and size (empty: from the preset)'), LENGTH)
        self._add_in_group(form.addGroup('Network and losses (empty: from the preset)'), NETWORK)
        self._add_in_group(form.addGroup('Cross-fitting: nobody marks their own work'), CROSS_FITTING)
        form.addSection(label='Details')
        left = self._remaining('target', 'preset', *LENGTH, *NETWORK, *CROSS_FITTING)
        for title, names in DETAILS.items():
            here = [name for name in names if name in left]
            if here:
                self._add_in_group(form.addGroup(title, expertLevel=self._level(here)), here)
            left = [name for name in left if name not in here]
        self._add_in_group(form, left)
        self._define_machine(form)

    @classmethod
    def _when(cls, name, choice):
        """Condition under which a list of the form stands at ``choice``."""
        return f'{name} == {cls._choices_of(cls._settings_class().__dataclass_fields__[name]).index(choice)}'

    @classmethod
    def _takes_maps(cls):
        """Whether the engine can use maps beside the references."""
        return 'volume' in cls._settings_class().__dataclass_fields__

    @classmethod
    def _level(cls, names):
        """Advanced when all of them are."""
        expert = all(f.metadata['expert'] for f in cls._form_fields() if f.name in names)
        return params.LEVEL_ADVANCED if expert else params.LEVEL_NORMAL

    def _add_in_group(self, form, names):
        """Add settings; those of one adversary or network appear with it, or while the preset decides."""
        known = [f.name for f in self._form_fields()]
        for name in (n for n in names if n in known):
            condition = self._shown_with('gan', ADVERSARY_ONLY, name, True)
            condition = condition or self._shown_with('network', NETWORK_ONLY, name, False)
            condition = condition or self._shown_with('target', TARGET_ONLY, name, False)
            self._add_settings(form, name, **({'condition': condition} if condition else {}))

    def _shown_with(self, parameter, owners, name, when_open):
        """Condition under which a field of one choice of ``parameter`` is shown, or None: it is always."""
        choices = self._choices_of(next(f for f in self._form_fields() if f.name == parameter))
        owner = next((o for o, owned in owners.items() if name in owned), None)
        if owner not in choices:
            return None
        shown = [choices.index(owner)] + ([choices.index(OPEN_CHOICE)] if when_open else [])
        return f'{parameter} in {sorted(shown)}'

    @classmethod
    def _help_of(cls, field):
        """The help, and what the presets say."""
        text = super()._help_of(field)
        values = {name: preset_values(name).get(field.name) for name in ('recommended', 'paper', 'authors')}
        if field.default is None and any(v is not None for v in values.values()):
            said = '; '.join(f'{name}: {_plain(v)}' for name, v in values.items() if v is not None)
            text += f'\n\nEmpty or "{OPEN_CHOICE}": {said}.'
        return text

    # --------------------------- STEPS functions -----------------------------
    def _write_inputs(self):
        self._write_input(self.inputParticles.get(), 'particles.star')
        for setting, pointer in self._partner().items():
            self._write_input(pointer.get(), f'{setting}.star')
        if self.inputNoise.get() is not None:
            self._write_input(self.inputNoise.get(), 'noise.star')
        for path, volume in self._maps():
            write_map(volume.getLocation(), path, volume.getSamplingRate())

    def createOutputStep(self, digest):
        model = DenoiserModel.fromFolder(self.getModelDir())
        self._defineOutputs(**{outputs.outputModel.name: model})
        self._defineSourceRelation(self.inputParticles, model)
        for pointer in self._partner().values():
            self._defineSourceRelation(pointer, model)
        if self.fromModel:
            self._defineSourceRelation(self.inputModel, model)
        for pointer in [*(self.inputVolumes if self._maps() else []), self.inputNoise]:
            if pointer.get() is not None:
                self._defineSourceRelation(pointer, model)

    # --------------------------- INFO functions ------------------------------
    def _validate(self):
        errors = super()._validate()
        particles = self.inputParticles.get()
        if not isinstance(particles, SetOfParticles):
            return errors
        for setting, pointer in self._partner().items():
            errors += self._check_partner(setting, pointer)
        if self._form_values().get('cross_fit') == 'halves' and not has_half_sets(particles):
            errors.append(
                'Cross-fitting by half sets, but the particles do not say which half they belong to '
                '(_rlnRandomSubset): take the particles of a refinement, or choose "folds".'
            )
        if self.inputNoise.get() is not None and not self._form_values().get('fresh_fraction'):
            errors.append('Images of noise are used for fresh pairs only: give "Fresh pairs" a fraction (e.g. 0.5).')
        model = self._start_model()
        if model is not None and not os.path.isdir(model.getFolder()):
            errors.append(f'The model folder {model.getFolder()} is no longer there.')
        return errors

    def _check_partner(self, setting, pointer):
        """Errors of the set that particles are paired with."""
        words = {'references': 'references', 'copies': 'second copies'}[setting]
        if not isinstance(pointer.get(), SetOfParticles):
            return [f'No {words} given. To train without a map, choose "self" in "Learn from".']
        if self.inputParticles.getUniqueId() == pointer.getUniqueId():
            return [f'Particles and {words} are the same set: the network would learn to copy.']
        return check_pairs(self.inputParticles.get(), pointer.get())

    def _warnings(self):
        particles = self.inputParticles.get()
        references = next((p.get() for p in self._partner().values()), particles)
        if particles is None or references is None:
            return []
        warnings = []
        if references.getSize() < particles.getSize():
            warnings.append(
                f'{particles.getSize()} particles, but {references.getSize()} references: particles '
                'without one are left out.'
            )
        if min(particles.getSize(), references.getSize()) < 500:
            warnings.append(
                'Fewer than 500 pairs: the network will learn them by heart. Compare training and validation curves.'
            )
        if self._form_values().get('cross_fit') == 'none':
            warnings.append(
                'No cross-fitting: on the particles it was trained on, the denoiser repeats part of their noise; '
                'judge it on other particles.'
            )
        return warnings

    def _progress_lines(self):
        """Where a training stands, from the last row of its metrics."""
        try:
            columns = read_columns(self.getRunDir('metrics.csv'))
            last = {name: values[-1] for name, values in columns.items()}
            return [
                f'Iteration {last["iteration"]:.0f}: MSE {last["mse"]:.3g} on particles kept out of training. "Analyze '
                'results" shows the curves.'
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
                    f'{label} {best[key]:.{digits}f}'
                    for key, label, digits in (('mse', 'MSE', 5), ('psnr', 'PSNR (dB)', 2), ('ssim', 'SSIM', 3))
                    if best.get(key) is not None
                )
                + '.'
            )
        top = (next(iter(summary.get('members', {}).values()), summary)).get('top', [])
        if len(top) > 1:
            lines.append(
                f'The best {len(top)} evaluations: mean MSE {summary["top_mse_mean"]:.5f}, '
                f'standard deviation {summary["top_mse_sd"]:.5f}.'
            )
        if len(members) > 1:
            lines.append(
                f'Cross-fitted: {len(members)} networks ({", ".join(members)}); a particle is denoised by those that '
                'have not learnt from it.'
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

    def _maps(self):
        """[(path in the extra folder, Volume)] of the maps beside the references."""
        pointers = self.inputVolumes if self._takes_maps() and 'references' in self._partner() else []
        volumes = [p.get() for p in pointers if p.get() is not None]
        return [(self._getExtraPath(f'map{k}.mrc'), volume) for k, volume in enumerate(volumes, 1)]

    def _start_model(self):
        """The model to start from, or None."""
        return self.inputModel.get() if self.fromModel else None

    def _input_settings(self):
        settings = {name: self._engine_path(f'{name}.star') for name in ('particles', *self._partner())}
        if self._maps():
            settings['volume'] = [os.path.abspath(path) for path, _ in self._maps()]
        if self.inputNoise.get() is not None:
            settings['noise_particles'] = self._engine_path('noise.star')
        model = self._start_model()
        if model is not None:
            # What the form leaves open is the model's, not the preset's.
            own = {'network': model.getNetwork(), 'box': model.getBox()}
            settings.update(
                {k: v for k, v in own.items() if k not in self._form_values()}, init=os.path.abspath(model.getFolder())
            )
        return settings


def check_pairs(particles, references):
    """Cheap checks of particles against references: pixel size, box, a shared identity."""
    a, b = particles.getSamplingRate(), references.getSamplingRate()
    errors = []
    if abs(particles.getXDim() * a - references.getXDim() * b) > 0.02 * particles.getXDim() * a:
        errors.append(
            f'Particles ({particles.getXDim()} px of {a:g} Å) and references ({references.getXDim()} px of '
            f'{b:g} Å) show fields of different width: project the references for these particles.'
        )
    if not share_ids(particles, references):
        errors.append(
            'Particles and references have no particle in common (by id): take the references that were '
            'projected from these particles.'
        )
    return errors


def share_ids(a, b):
    """Whether two sets share a particle id (read from their databases, a second a million)."""
    return not a.getIdSet().isdisjoint(b.getIdSet())


def _plain(value):
    return {True: 'yes', False: 'no'}.get(value, value) if isinstance(value, bool) else value
