"""The engine's fixtures (shared data) for the benchmarks too."""

from cryoemgan.engine.tests.conftest import shared_data

__all__ = ['shared_data']
