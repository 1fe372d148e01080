"""Fourier shell correlation: see frc.py."""

from .frc import FSC_LIMIT, half_map_resolution, resolution, shell_correlation

__all__ = ['FSC_LIMIT', 'half_map_resolution', 'resolution', 'shell_correlation']
