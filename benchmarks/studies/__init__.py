"""One question each, with its page in ``benchmarks/results``: ``python -m benchmarks.studies.NAME``."""
