"""Settings of every verb: one dataclass a verb, each parameter declared once."""

from .audit import Audit
from .base import Settings, option
from .cluster import Cluster
from .denoise import Denoise
from .evaluate import Evaluate
from .filter import Filter
from .originals import Originals
from .project import Project
from .report import Report
from .select import Select
from .simulate import Simulate
from .train import Train

COMMANDS = {
    'report': Report,
    'project': Project,
    'train': Train,
    'denoise': Denoise,
    'evaluate': Evaluate,
    'simulate': Simulate,
    'filter': Filter,
    'cluster': Cluster,
    'audit': Audit,
    'select': Select,
    'originals': Originals,
}

__all__ = [
    'COMMANDS',
    'Audit',
    'Cluster',
    'Denoise',
    'Evaluate',
    'Filter',
    'Originals',
    'Project',
    'Report',
    'Select',
    'Settings',
    'Simulate',
    'Train',
    'option',
]
