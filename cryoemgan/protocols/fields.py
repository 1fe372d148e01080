"""Fields that several of our forms have: objects of the project, and questions that open them."""

import pyworkflow.protocol.params as params


class Fields:
    """Adds them to a form."""

    @staticmethod
    def _add_pointer(form, name, kind, **arguments):
        """A field for one object of a class of Scipion; asked for by a star unless it may stay empty (allowsNull)."""
        arguments.setdefault('important', not arguments.get('allowsNull', False))
        form.addParam(name, params.PointerParam, pointerClass=kind, **arguments)

    def _add_asked(self, form, question, label, add, help, condition=None, **more):
        """A yes/no question, and by ``add(condition)`` the field that Yes opens. more: for the question."""
        more.update({'condition': condition} if condition else {})
        form.addParam(question, params.BooleanParam, default=False, label=label, help=help, **more)
        add(f'{question} and {condition}' if condition else question)

    def _add_particles(self, form, name, **arguments):
        """A field for one set of particles."""
        self._add_pointer(form, name, 'SetOfParticles', **arguments)

    def _add_refinement(self, form, help, **arguments):
        """The fields for what a refinement gave: particles and map. help: of the map; arguments: of both."""
        self._add_particles(
            form, 'inputParticles', label='Refined particles', pointerCondition='hasAlignmentProj',
            help='The output of a 3D refinement, with projection angles.', **arguments,
        )  # fmt: skip
        self._add_pointer(form, 'inputVolume', 'Volume', label='Refined map', help=help, **arguments)

    def _add_mask(self, form, help):
        """Whether the map is masked, and by what."""
        self._add_asked(
            form, 'useMask', 'Mask the map?',
            lambda condition: self._add_pointer(
                form, 'inputMask', 'VolumeMask', condition=condition, label='Mask', help=self._help('mask')
            ),
            help,
        )  # fmt: skip

    @staticmethod
    def _add_model_pointer(form, name, **arguments):
        """A field for one trained model of the project."""
        form.addParam(name, params.PointerParam, pointerClass='DenoiserModel', **arguments)

    def _add_noise_images(self, form, help, condition=None, expertLevel=params.LEVEL_NORMAL, **more):
        """Whether there are images without a particle, and which. more: for the field."""
        self._add_asked(
            form,
            'haveNoise',
            'Use noise images?',
            lambda shown: self._add_particles(
                form, 'inputNoiseParticles', important=True, condition=shown, expertLevel=expertLevel,
                label='Noise images', help=self._help('noise_particles'), **more,
            ),
            help,
            condition,
            expertLevel=expertLevel,
        )  # fmt: skip
