"""Particles on disk: tables, stacks, identity."""
