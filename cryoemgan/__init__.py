"""Robust autoencoder and GAN denoising of single particles, for Scipion.

Importing this package imports nothing of Scipion: the engine below it must run in a Python that has only torch
and its friends. ``Plugin`` is loaded when Scipion asks for it (PEP 562).
"""

__version__ = '0.1.0'
_logo = 'logo.png'
_references = ['Gu2020', 'Gu2023']


def __getattr__(name):
    if name == 'Plugin':
        from .plugin import Plugin

        return Plugin
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
