"""The tables and figures of the paper, repeated: ``python -m benchmarks.paper``."""
