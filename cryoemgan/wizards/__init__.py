"""The wizards: a value of a form, chosen by what it does. Nothing here imports torch."""

from .box import BoxWizard
from .gpus import GpuWizard
from .limit import LimitWizard
from .lowpass import LowPassWizard
from .mask import MaskWizard
from .minutes import MinutesWizard

__all__ = ['BoxWizard', 'GpuWizard', 'LimitWizard', 'LowPassWizard', 'MaskWizard', 'MinutesWizard']
