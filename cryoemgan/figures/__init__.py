"""Figures drawn from result files, for the engine, the Scipion viewers and scripts.

Needs matplotlib, numpy and the readers of tables and stacks; neither torch nor Scipion nor a display. Every function
returns a matplotlib Figure without pyplot's global state: ``save`` writes it, a viewer embeds it.
"""

from . import audit
from .clusters import Embedding, averages
from .curves import frc_curves, training_curves
from .distributions import column_distribution, distributions
from .gallery import Gallery
from .masks import mask_on_map
from .other_state import other_state
from .previews import preview, preview_tables, previews_page
from .report_page import report_page
from .selection import selection
from .style import picture, save
from .thumbnails import galleries_page, gallery_page

__all__ = [
    'Embedding',
    'Gallery',
    'audit',
    'averages',
    'column_distribution',
    'distributions',
    'frc_curves',
    'galleries_page',
    'gallery_page',
    'mask_on_map',
    'other_state',
    'picture',
    'preview',
    'preview_tables',
    'previews_page',
    'report_page',
    'save',
    'selection',
    'training_curves',
]
