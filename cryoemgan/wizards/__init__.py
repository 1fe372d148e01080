"""The wizards: a value of a form, chosen by what it does. Nothing here imports torch."""

from .lowpass import LowPassWizard

__all__ = ['LowPassWizard']
