"""Settings of every verb: one dataclass a verb, each parameter declared once."""

from .base import Settings, option
from .denoise import Denoise
from .evaluate import Evaluate
from .filter import Filter
from .project import Project
from .simulate import Simulate
from .train import Train

VERBS = {'project': Project, 'train': Train, 'denoise': Denoise, 'evaluate': Evaluate, 'simulate': Simulate,
         'filter': Filter}

__all__ = ['VERBS', 'Denoise', 'Evaluate', 'Filter', 'Project', 'Settings', 'Simulate', 'Train', 'option']
