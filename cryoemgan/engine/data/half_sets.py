"""Half sets of a gold-standard refinement, and the fold models that keep them apart."""

import re

# Name of the fold model that touches the particles of one half set only.
HALF = re.compile(r'half([12])')
