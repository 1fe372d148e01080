"""Names that more than one module of the plugin needs."""

# How to enter the engine's environment; empty = the engine runs in Scipion's own Python.
ENV_ACTIVATION = 'CRYOEMGAN_ENV_ACTIVATION'
# Read by the engine: it ends when the process with this id is gone.
PARENT = 'CRYOEMGAN_PARENT'
ENV_NAME = 'cryoemgan-%s'

URL = 'https://github.com/scipion-em/scipion-em-cryoemgan'

PURPOSE = (
    'For viewing, sorting and clustering; use the original particles for the final reconstruction '
    '(a network that has seen a map can draw that map).'
)

# What an image holds of the contrast transfer function, as the engine's tables say it.
CTF_FULL, CTF_FLIP, CTF_NONE, CTF_UNKNOWN = 'full', 'phase-flip', 'none', 'unknown'
CTF_PREMULTIPLIED = 'premultiplied'
