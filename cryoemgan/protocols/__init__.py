"""The protocols: one a file, on one base. Nothing here imports torch."""

from .audit import CryoEMGANProtAudit
from .denoise import CryoEMGANProtDenoise
from .evaluate import CryoEMGANProtEvaluate
from .originals import CryoEMGANProtOriginals
from .project import CryoEMGANProtProject
from .train import CryoEMGANProtTrain

__all__ = [
    'CryoEMGANProtAudit',
    'CryoEMGANProtDenoise',
    'CryoEMGANProtEvaluate',
    'CryoEMGANProtOriginals',
    'CryoEMGANProtProject',
    'CryoEMGANProtTrain',
]
