"""Names of the networks, for forms and the command line, which must not import torch.

``engine/networks`` registers exactly these; a test keeps the two equal.
"""

NETWORKS = ('residual', 'equivariant', 'guided', 'paper128', 'paper256', 'plain', 'pggan')
DEFAULT_NETWORK = 'equivariant'
SMALLEST_BOX, LARGEST_BOX = 32, 512
