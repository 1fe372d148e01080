"""The protocols: one a file, on one base. Nothing here imports torch."""

from .audit import CryoEMGANProtAudit
from .cluster import CryoEMGANProtCluster
from .denoise import CryoEMGANProtDenoise
from .evaluate import CryoEMGANProtEvaluate
from .filter import CryoEMGANProtFilter
from .originals import CryoEMGANProtOriginals
from .project import CryoEMGANProtProject
from .report import CryoEMGANProtReport
from .select import CryoEMGANProtSelect
from .simulate import CryoEMGANProtSimulate
from .train import CryoEMGANProtTrain

__all__ = [
    'CryoEMGANProtAudit',
    'CryoEMGANProtCluster',
    'CryoEMGANProtDenoise',
    'CryoEMGANProtEvaluate',
    'CryoEMGANProtFilter',
    'CryoEMGANProtOriginals',
    'CryoEMGANProtProject',
    'CryoEMGANProtReport',
    'CryoEMGANProtSelect',
    'CryoEMGANProtSimulate',
    'CryoEMGANProtTrain',
]
