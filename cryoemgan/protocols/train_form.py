"""The form of "train denoiser": its fields in pages and groups, and when each is shown."""

import pyworkflow.protocol.params as params

from ..engine.settings.train import preset_values
from .form import OPEN_CHOICE

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
# ViewClusters of the last page; a setting that is in none of them comes after them.
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


class TrainForm:
    """The part of the protocol that lays out its form; beside ``SettingsForm``, which makes the fields."""

    # --------------------------- DEFINE param functions ----------------------
    def _defineParams(self, form):
        form.addSection(label='Input')
        self._add_particles(
            form,
            'inputParticles',
            label='Noisy particles',
            help='The particles to learn from, as they were refined. A subset is '
            'enough: 2,000 to 20,000; more lower the error slowly.',
        )
        self._add_settings(form, 'target')
        self._add_particles(
            form,
            'inputReferences',
            important=True,
            allowsNull=True,
            condition=self._when('target', 'references'),
            label='References',
            help='Output of "project references" for these particles (or for a set '
            'that contains them). Pairs are found by identity, not by order.',
        )
        self._add_particles(
            form,
            'inputCopies',
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
        self._add_model_pointer(
            form,
            'inputModel',
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
        self._add_particles(
            form,
            'inputNoiseParticles',
            allowsNull=True,
            condition=self._when('target', 'references'),
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


def _plain(value):
    return {True: 'yes', False: 'no'}.get(value, value) if isinstance(value, bool) else value
