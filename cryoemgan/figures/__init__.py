"""Figures drawn from result files, for the engine, the Scipion viewers and scripts.

Needs matplotlib, numpy and the readers of tables and stacks; neither torch nor Scipion nor a display. Every function
returns a matplotlib Figure without pyplot's global state: ``save`` writes it, a viewer embeds it.
"""

from .curves import frc_curves, training_curves
from .distributions import distributions
from .gallery import Gallery
from .style import save

__all__ = ['Gallery', 'distributions', 'frc_curves', 'save', 'training_curves']
