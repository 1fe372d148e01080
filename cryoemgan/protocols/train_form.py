"""The form of "train denoiser": its fields in pages and groups, and when each is shown."""

import re

import pyworkflow.protocol.params as params

from ..engine.settings.train import preset_values
from .form import OPEN_CHOICE

# The three kinds of network, in the words of the glossary, and what each of them learns from.
ON_MAP, GUIDED, MAP_FREE = range(3)
APPROACHES = ['trained on the map', 'guided by the map', 'map-free']
WITH_MAP = f'approach != {MAP_FREE}'
# Fields that only some adversaries have (indices of the list in the form are looked up by name).
ADVERSARY_ONLY = {'beta': ('alpha', 'beta'), 'wgan-gp': ('gradient_penalty', 'critic_scale')}
GUIDED_ONLY = ('bank_size', 'candidates', 'contrast_spread', 'shift_range', 'pose_prior')
WITH_MAP_ONLY = (
    'min_agreement', 'invert_contrast', 'force', 'fresh_fraction', 'noise_curriculum', 'exchange_noise',
    'contaminate', 'contaminate_fraction', 'contaminate_noise',
)  # fmt: skip
SELF_ONLY = ('self_supervision', 'recorruption', 'hidden_pixels')
FIRST_PAGE = ('minutes', 'cross_fit')
# Groups of the pages; a setting that is in none of them comes last of all.
TRAINING = {
    'Length and size': ('epochs', 'iterations', 'most_epochs', 'batch_size', 'box'),
    'Cross-fitting': ('folds',),
    'Validation': ('validation_fraction', 'evaluations', 'patience', 'keep'),
}
PAIRS = {
    'Pairs': ('invert_contrast', 'min_agreement', 'force'),
    'From particles alone': SELF_ONLY,
    'How pairs are shown': ('noise_curriculum', 'turns', 'shift', 'exchange_noise', 'shuffle'),
    'Fresh pairs': ('fresh_fraction',),
}
PAPER = {
    'Preset and architecture': ('preset', 'network'),
    'Losses': ('gan', 'alpha', 'beta', 'p', 'reconstruction_weight'),
    'Adversary': ('gradient_penalty', 'critic_scale', 'patch_reduction', 'discriminator_steps', 'generator_steps'),
    'Robustness experiment': ('contaminate', 'contaminate_fraction', 'contaminate_noise'),
}
DETAILS = {
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
    'Guided by the map': GUIDED_ONLY,
}


class TrainForm:
    """The part of the protocol that lays out its form; beside ``SettingsForm``, which makes the fields."""

    # --------------------------- DEFINE param functions ----------------------
    def _defineParams(self, form):
        form.addSection(label='Input')
        self._define_input(form)
        form.addSection(label='Training')
        self._add_groups(form, TRAINING)
        form.addSection(label='Pairs')
        self._add_groups(form, PAIRS)
        self._define_noise(form)
        form.addSection(label="Paper's family")
        self._add_groups(form, PAPER)
        form.addSection(label='Details')
        self._add_groups(form, DETAILS)
        placed = [name for page in (TRAINING, PAIRS, PAPER, DETAILS) for names in page.values() for name in names]
        self._add_in_group(form, self._remaining(*FIRST_PAGE, *placed))
        self._define_machine(form)

    def _define_input(self, form):
        self._add_particles(
            form,
            'inputParticles',
            label='Noisy particles',
            help='The particles to learn from, as they were refined, not denoised. Between 2,000 and 20,000 are '
            'enough; more lower the error slowly.',
        )
        form.addParam(
            'approach',
            params.EnumParam,
            choices=APPROACHES,
            default=ON_MAP,
            label='Network',
            help='*Trained on the map*: learns to draw projections of the map from noisy particles, and later sees '
            'the particle alone. Shows large features of a particle, also some that the map does not hold. Take it '
            'when in doubt.\n'
            '*Guided by the map*: also compares each particle with projections of the map when it denoises. Shows '
            'the most detail and scores how well each particle fits the map. Cannot show what the map does not '
            'hold: junk and other molecules are drawn as the nearest view of the map. For sorting, not for finding '
            'something new.\n'
            '*Map-free*: never sees a map; learns from the noisy particles alone. Shows the least, and nothing that '
            'came from the map. Needs no references. A second opinion for the audit.',
        )
        self._add_particles(
            form,
            'inputReferences',
            important=True,
            allowsNull=True,
            condition=WITH_MAP,
            label='References',
            help='Output of "project references" for these particles, or for a set that contains them. Pairs are '
            'found by identity, not by order.',
        )
        self._add_asked(
            form,
            'haveCopies',
            'Second noisy copies?',
            lambda condition: self._add_particles(
                form,
                'inputCopies',
                important=True,
                allowsNull=True,
                condition=condition,
                label='Second copies',
                help=self._help('copies'),
            ),
            condition=f'approach == {MAP_FREE}',
            help='Yes: there is a second image of each particle with noise of its own, such as one from the even and '
            'one from the odd frames of the movie; one is predicted from the other. No: each particle teaches itself '
            '(some of its pixels are hidden and predicted from the others).',
        )
        self._add_in_group(form, FIRST_PAGE)
        self._add_asked(
            form,
            'fromModel',
            'Continue from a model?',
            lambda condition: self._add_model_pointer(
                form,
                'inputModel',
                condition=condition,
                label='Model',
                help='Its architecture and box are taken where the form leaves them open.',
            ),
            help='Yes: start from the weights of a trained model, to train it longer or to adapt it to new '
            'particles. The model itself is not changed. After Stop, do not use this: Continue the run.',
        )
        self._add_asked(
            form,
            'giveMaps',
            'Choose the maps?',
            lambda condition: form.addParam(
                'inputVolumes',
                params.MultiPointerParam,
                pointerClass='Volume',
                allowsNull=True,
                condition=condition,
                label='Maps',
                expertLevel=params.LEVEL_ADVANCED,
                help=self._help('volume'),
            ),
            condition=WITH_MAP,
            expertLevel=params.LEVEL_ADVANCED,
            help='No: the maps that the references were projected from are used where a map is needed.',
        )

    def _define_noise(self, form):
        self._add_asked(
            form,
            'haveNoise',
            'Have noise images?',
            lambda condition: self._add_particles(
                form,
                'inputNoiseParticles',
                important=True,
                allowsNull=True,
                condition=condition,
                expertLevel=params.LEVEL_ADVANCED,
                label='Noise images',
                help=self._help('noise_particles'),
            ),
            condition=WITH_MAP,
            expertLevel=params.LEVEL_ADVANCED,
            help='Yes: fresh pairs take their noise from images that hold no particle.',
        )

    def _add_groups(self, form, groups):
        """A page's settings, group by group."""
        known = [f.name for f in self._form_fields()]
        for title, names in groups.items():
            here = [name for name in names if name in known]
            if here:
                shared = {self._condition_of(name) for name in here} - {None}
                more = {'condition': shared.pop()} if len(shared) == 1 and all(map(self._condition_of, here)) else {}
                self._add_in_group(form.addGroup(title, expertLevel=self._level(here), **more), here)

    @classmethod
    def _level(cls, names):
        """Advanced when all of them are."""
        expert = all(f.metadata['expert'] for f in cls._form_fields() if f.name in names)
        return params.LEVEL_ADVANCED if expert else params.LEVEL_NORMAL

    def _add_in_group(self, form, names):
        """Add settings; those of one adversary or network appear with it, or while the preset decides."""
        for name in names:
            condition = self._condition_of(name)
            self._add_settings(form, name, **({'condition': condition} if condition else {}))

    def _condition_of(self, name):
        """Condition under which a field is shown, or None: it is always."""
        if name in GUIDED_ONLY:
            return f'approach == {GUIDED}'
        if name == 'network':
            return f'approach != {GUIDED}'
        if name in SELF_ONLY:
            return f'approach == {MAP_FREE} and not haveCopies'
        if name == 'folds':
            return f'crossFit in {self._places("cross_fit", "auto", "folds")}'
        if name in WITH_MAP_ONLY:
            return WITH_MAP
        owner = next((o for o, owned in ADVERSARY_ONLY.items() if name in owned), None)
        # 0: the preset decides.
        return f'gan in {[0, *self._places("gan", owner)]}' if owner else None

    @classmethod
    def _places(cls, name, *choices):
        """Indices of choices in a list of the form."""
        known = cls._choices_of(cls._settings_class().__dataclass_fields__[name])
        return [known.index(c) for c in choices]

    @classmethod
    def _choices_of(cls, field):
        # "Guided" is one of the three kinds on the first page.
        return [c for c in super()._choices_of(field) if (field.name, c) != ('network', 'guided')]

    # --------------------------- What is open, and what it then is -----------
    @classmethod
    def _open_choice(cls, field):
        return f'{OPEN_CHOICE} ({_plain(_default(field.name))})'

    @classmethod
    def _param_of(cls, field):
        kind, arguments = super()._param_of(field)
        if field.default is None and 'choices' not in arguments and field.name not in GUIDED_ONLY:
            usual = _default(field.name)
            others = {'guided': _default(field.name, 'guided'), 'map-free': _default(field.name, target='self')}
            words = [_plain(usual), *(f'{kind}: {_plain(v)}' for kind, v in others.items() if v != usual)]
            arguments['label'] += f' (default {"; ".join(words)})' if usual is not None else ''
        return kind, arguments

    @classmethod
    def _help_of(cls, field):
        """The help, and what the presets say."""
        text = super()._help_of(field)
        values = {name: preset_values(name).get(field.name) for name in ('recommended', 'paper', 'authors')}
        if field.default is None and any(v is not None for v in values.values()):
            said = '; '.join(f'{name}: {_plain(v)}' for name, v in values.items() if v is not None)
            text += f'\n\nLeft open, it comes from the preset: {said}.'
        return text

    @classmethod
    def _in_form_words(cls, message):
        return super()._in_form_words(re.sub('--target (self|copies)', 'a map-free network', message))

    # --------------------------- The filled form ------------------------------
    def _form_values(self):
        values = super()._form_values()
        if self.approach == MAP_FREE:
            return {**values, 'target': 'copies' if self.haveCopies else 'self'}
        return {**values, 'target': 'references', **({'network': 'guided'} if self.approach == GUIDED else {})}


def _default(name, network=None, target='references'):
    """Value of a setting in the preset that the form opens with, or None."""
    return preset_values('recommended', network, target).get(name)


def _plain(value):
    if isinstance(value, bool):
        return 'yes' if value else 'no'
    return f'{value:g}' if isinstance(value, float) else str(value)
