"""Fields of a form that say what a run may use of a machine."""

import pyworkflow.protocol.params as params


class Machine:
    """The part of a protocol that asks for GPUs, where one is used, and threads."""

    def _define_machine(self, form, threads=2, gpu=True):
        """GPU, where one is used (hidden: Scipion draws the fields in the header), and threads."""
        if gpu:
            self._define_gpu(form)
            # Fields of the header have no room for a wizard.
            form.getSection('Input').addParam(
                'machineGpus',
                params.LabelParam,
                label='GPUs of this machine',
                expertLevel=params.LEVEL_ADVANCED,
                help='Choose among those of this machine; "GPU IDs" at the top takes them.',
            )
        form.addParallelSection(threads=threads, mpi=0)

    @staticmethod
    def _define_gpu(form):
        form.addHidden(
            params.USE_GPU,
            params.BooleanParam,
            default=True,
            label='Use GPU?',
            help='Yes: a GPU is used if this machine has one, otherwise the processor.',
        )
        form.addHidden(
            params.GPU_LIST,
            params.StringParam,
            default='0',
            label='Choose GPU IDs',
            help='Numbers of the GPUs as nvidia-smi lists them, for example 0 or 0,1.',
        )
