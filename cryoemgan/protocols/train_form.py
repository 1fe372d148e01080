"""The form of "train denoiser": its fields in pages and groups, and when each is shown."""

import pyworkflow.protocol.params as params

from ..engine.settings.train import preset_values
from .form import OPEN_CHOICE

# The three kinds of network, in the words of the glossary, and what each of them learns from.
ON_MAP, GUIDED, MAP_FREE = range(3)
APPROACHES = ['trained on the map', 'guided by the map', 'map-free']
WITH_MAP = f'approach != {MAP_FREE}'
# Fields that only some adversaries have (indices of the list in the form are looked up by name).
OF_BOTH = ('reconstruction_weight', 'patch_reduction', 'discriminator_steps')
ADVERSARY_ONLY = {'beta': ('alpha', 'beta', *OF_BOTH), 'wgan-gp': ('gradient_penalty', 'critic_scale', *OF_BOTH)}
GUIDED_ONLY = ('bank_size', 'pose_prior')
# How particles are compared with templates, of the map or learned from the particles.
COMPARING = ('candidates', 'contrast_spread', 'shift_range')
WITH_MAP_ONLY = (
    'leave_out_wrong', 'min_agreement', 'invert_contrast', 'force', 'fresh_fraction', 'noise_curriculum',
    'exchange_noise', 'contaminate', 'contaminate_fraction', 'contaminate_noise',
)  # fmt: skip
SELF_ONLY = ('self_supervision', 'recorruption', 'hidden_pixels')
FIRST_PAGE = ('minutes', 'cross_fit')
# Groups of the pages; a setting that is in none of them comes last of all.
TRAINING = {
    'Length and size': ('epochs', 'iterations', 'most_epochs', 'box'),
    'Cross-fitting': ('folds',),
    'Validation': ('validation_fraction', 'evaluations', 'patience', 'keep'),
}
PAIRS = {
    'Pairs': ('leave_out_wrong', 'invert_contrast', 'min_agreement', 'force'),
    'From particles alone': SELF_ONLY,
    'How pairs are shown': ('noise_curriculum', 'turns', 'shift', 'exchange_noise', 'shuffle'),
}
MAP = {
    'Comparison with templates': (*GUIDED_ONLY, *COMPARING),
    'Fresh pairs': ('fresh_fraction',),
    'Robustness experiment': ('contaminate', 'contaminate_fraction', 'contaminate_noise'),
}
NETWORK = {
    'Preset and architecture': ('preset', 'network'),
    'Losses and adversary': (
        'gan', 'alpha', 'beta', 'p', 'reconstruction_weight', 'gradient_penalty', 'critic_scale', 'patch_reduction',
        'discriminator_steps', 'generator_steps',
    ),
}  # fmt: skip
DETAILS = {
    'Optimiser': (
        'batch_size',
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
        form.addSection(label='Map and noise')
        self._add_groups(form, MAP)
        self._define_noise(form)
        form.addParam(
            'nothingHere',
            params.LabelParam,
            condition=f'approach == {MAP_FREE}',
            label='A map-free network needs neither a map nor fresh pairs: there is nothing to set on this page.',
        )
        form.addSection(label='Network and losses')
        self._add_groups(form, NETWORK)
        form.addSection(label='Optimiser')
        self._add_groups(form, DETAILS)
        pages = (TRAINING, PAIRS, MAP, NETWORK, DETAILS)
        placed = [name for page in pages for names in page.values() for name in names]
        self._add_in_group(form, self._remaining(*FIRST_PAGE, *placed))
        self._define_machine(form)

    def _define_input(self, form):
        self._add_particles(
            form,
            'inputParticles',
            label='Noisy particles',
            help='The particles to learn from, as they were refined. Some thousands are enough; more lower the error '
            'slowly.',
        )
        form.addParam(
            'approach',
            params.EnumParam,
            choices=APPROACHES,
            default=ON_MAP,
            label='Network',
            help='*Trained on the map*: learns to draw projections of the map from noisy particles; afterwards it sees '
            'only the particle. Shows large features of the particle, including some that are not in the map. Take '
            'it if in doubt.\n'
            '*Guided by the map*: also compares each particle with projections of the map when it denoises. Shows '
            'the most detail, and scores how well each particle fits the map. It cannot show what is not in the map: '
            'junk and other molecules are drawn as the nearest view of the map. For sorting, not for finding '
            'anything new.\n'
            '*Map-free*: learns from the noisy particles alone, without references, and compares each with what they '
            'have in common. Shows less detail, and nothing that comes from the map. Needs no alignment. A second '
            'opinion for the audit.',
        )
        self._add_particles(
            form,
            'inputReferences',
            important=True,
            allowsNull=True,
            condition=WITH_MAP,
            label='References',
            help='Output of "project references" for these particles, or for a set that contains them.',
        )
        self._add_asked(
            form,
            'haveCopies',
            'Learn from second copies?',
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
            help='Yes: there are two images of each particle with independent noise, such as one from the even and one '
            'from the odd frames of the movie; one is predicted from the other.\nNo: each particle is its own copy, '
            'with noise that is added and taken away.',
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
                help='Its architecture and box are used unless you choose others.',
            ),
            help='Yes: start from a trained model, to train it further or to adapt it to new particles. The model '
            'itself is not changed. To go on with a run that was stopped, use Run mode: Continue instead.',
        )
        self._add_asked(
            form,
            'giveMaps',
            'Choose other maps?',
            lambda condition: form.addParam(
                'inputVolumes',
                params.MultiPointerParam,
                pointerClass='Volume',
                allowsNull=True,
                condition=condition,
                label='Maps',
                expertLevel=params.LEVEL_ADVANCED,
                help='Maps for the template library of a network guided by the map, and for new projections when there '
                'are fresh pairs. Several maps (states, classes) count equally.',
            ),
            condition=WITH_MAP,
            expertLevel=params.LEVEL_ADVANCED,
            help='No: where a map is needed, those from which the references were projected are used.',
        )

    def _define_noise(self, form):
        self._add_noise_images(
            form,
            'Yes: fresh pairs get their noise from images without a particle.',
            condition=WITH_MAP,
            expertLevel=params.LEVEL_ADVANCED,
            allowsNull=True,
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
        if name in COMPARING:
            return f'approach == {GUIDED} or (approach == {MAP_FREE} and not haveCopies)'
        if name == 'network':
            return f'approach != {GUIDED}'
        if name in SELF_ONLY:
            return f'approach == {MAP_FREE} and not haveCopies'
        if name == 'folds':
            return f'crossFit in {self._places("cross_fit", "auto", "folds")}'
        if name in WITH_MAP_ONLY:
            return WITH_MAP
        owners = [o for o, owned in ADVERSARY_ONLY.items() if name in owned]
        return self._with_adversary(owners) if owners else None

    def _with_adversary(self, owners):
        """Condition under which one of these adversaries is trained against: by choice, or by the preset's."""
        presets = [i for i, name in enumerate(self._presets()) if preset_values(name).get('gan') in owners]
        return f'gan in {self._places("gan", *owners)} or (gan == 0 and preset in {presets})'

    @classmethod
    def _presets(cls):
        return cls._settings_class().__dataclass_fields__['preset'].metadata['choices']

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
    def _blank(cls, field):
        usual = _default(field.name)
        if field.default is not None or cls._choices_of(field) or usual is None:
            return super()._blank(field)
        others = {'guided': _default(field.name, 'guided'), 'map-free': _default(field.name, target='self')}
        return ', '.join([_plain(usual), *(f'{kind} {_plain(v)}' for kind, v in others.items() if v != usual)])

    @classmethod
    def _help_of(cls, field):
        """The help, and what the presets say."""
        text = super()._help_of(field)
        values = {name: preset_values(name).get(field.name) for name in cls._presets()}
        if field.default is None and any(v is not None for v in values.values()):
            said = ', '.join(f'{name} {_plain(v)}' for name, v in values.items() if v is not None)
            text += f'\n\nIf left open, it comes from the preset: {said}.'
        return text

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
