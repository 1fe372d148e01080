"""Parameters of guided networks, shared by ``train`` and ``denoise``."""

from ..errors import InputError

POSE_PRIOR = (
    'Use the angles and shifts of the particle table as a prior: none = find every particle afresh, or the width of '
    'the prior in degrees: how far the refinement is trusted. With a prior a guided model follows the refinement and '
    'can no longer contradict it where it is wrong.'
)


def degrees(text):
    """None for 'none', else the number; InputError for anything else."""
    if text == 'none':
        return None
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.1 <= value <= 180:
        raise InputError(f'--pose-prior: {text!r} is neither none nor a width of 0.1 to 180 degrees')
    return value
