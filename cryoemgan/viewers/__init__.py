"""The viewers: they draw the files of a run with ``cryoemgan.figures``; nothing here imports torch."""

from .audit import AuditViewer
from .cluster import ClusterViewer
from .evaluate import EvaluateViewer
from .images import DenoiseViewer, ProjectViewer, SimulateViewer
from .labels import show_columns
from .report import ReportViewer
from .select import SelectViewer
from .train import DenoiserModelViewer, TrainViewer

__all__ = [
    'AuditViewer',
    'ClusterViewer',
    'DenoiseViewer',
    'DenoiserModelViewer',
    'EvaluateViewer',
    'ProjectViewer',
    'ReportViewer',
    'SelectViewer',
    'SimulateViewer',
    'TrainViewer',
]

show_columns()
