"""The plugin as Scipion knows it: which Python runs the engine, and how its environment is made."""

import os
import sys
from importlib.util import find_spec

import pwem
import pyworkflow.utils as pwutils

from . import __version__
from .constants import ENV_ACTIVATION, ENV_NAME, URL


class Plugin(pwem.Plugin):
    """Denoising of single particles by a network trained on projections of the refined map."""

    # Scipion takes the plugin's name, folder and version from the module of this class: the package.
    __module__ = __package__
    _url = URL

    @classmethod
    def _defineVariables(cls):
        cls._defineVar(
            ENV_ACTIVATION,
            '',
            description='Command that enters the environment with torch, such as '
            f'"conda activate {ENV_NAME % __version__}". Empty: the engine runs in Scipion\'s own Python.',
        )

    @classmethod
    def getEnviron(cls):
        """Environment of the engine's process."""
        environ = pwutils.Environ(os.environ)
        # GPU 0 of the form is GPU 0 of nvidia-smi.
        environ['CUDA_DEVICE_ORDER'] = 'PCI_BUS_ID'
        if cls.getActivation():
            # Scipion's packages must not shadow those of the other environment.
            environ.pop('PYTHONPATH', None)
        return environ

    @classmethod
    def getActivation(cls):
        """Shell command that enters the engine's environment, or '' when it is Scipion's own."""
        return (cls.getVar(ENV_ACTIVATION) or '').strip()

    @classmethod
    def getProgram(cls, gpus=''):
        """Command line of the engine up to its verb; gpus: ids it may see, comma separated, '' = all."""
        visible = f'CUDA_VISIBLE_DEVICES={gpus} ' if gpus else ''
        activation = cls.getActivation()
        if not activation:
            return f'{visible}{sys.executable} -m cryoemgan.engine'
        # The shell is dash, which has no "source".
        activation = activation.replace('source ', '. ', 1) if activation.startswith('source ') else activation
        conda = (cls.getCondaActivationCmd() or '') if 'conda' in activation else ''
        return f'{conda} {activation} && {visible}python -m cryoemgan.engine'.strip()

    @classmethod
    def validateInstallation(cls):
        """Called for every form and every row of the protocol tree: looks, but imports nothing."""
        if cls.getActivation():
            return []
        missing = [
            name
            for name in ('torch', 'gemmi', 'safetensors', 'lightning_fabric', 'torch_ctf')
            if find_spec(name) is None
        ]
        if not missing:
            return []
        return [
            f"The denoising engine needs {', '.join(missing)}, which Scipion's Python does not have.",
            f'Either install here:  {sys.executable} -m pip install scipion-em-cryoemgan',
            "or install it in an environment of its own (Scipion's plugin manager offers one) and set "
            f'{ENV_ACTIVATION} in scipion.conf, for example  {ENV_ACTIVATION} = conda activate '
            f'{ENV_NAME % __version__}',
        ]

    @classmethod
    def getDependencies(cls):
        """Programs that making the environment needs."""
        return [] if cls.getCondaActivationCmd() else ['conda']

    @classmethod
    def defineBinaries(cls, env):
        """Offer an environment of its own for the engine; not by default, as Scipion's own Python can hold it."""
        name, flag = ENV_NAME % __version__, f'cryoemgan_{__version__}_installed'
        source = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        package = source if os.path.exists(os.path.join(source, 'setup.py')) else f'scipion-em-cryoemgan=={__version__}'
        commands = ' && '.join(
            [
                f'{cls.getCondaActivationCmd() or ""} conda create -y -n {name} python=3.11',
                f'conda activate {name}',
                # The engine alone: nothing of Scipion goes there.
                f'pip install {package}',
                f'touch {flag}',
            ]
        )
        env.addPackage(
            'cryoemgan',
            version=__version__,
            tar='void.tgz',
            commands=[(commands, flag)],
            neededProgs=cls.getDependencies(),
            default=False,
            vars={'PATH': os.environ.get('PATH', '')},
        )
