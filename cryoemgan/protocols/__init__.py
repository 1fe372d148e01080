"""The protocols: one a file, on one base. Nothing here imports torch."""

from .denoise import CryoEMGANProtDenoise
from .evaluate import CryoEMGANProtEvaluate
from .project import CryoEMGANProtProject
from .train import CryoEMGANProtTrain

__all__ = ['CryoEMGANProtDenoise', 'CryoEMGANProtEvaluate', 'CryoEMGANProtProject', 'CryoEMGANProtTrain']
