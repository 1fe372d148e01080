"""Measurements of the whole program: sets with a known truth, methods, one error, cells that are computed once.

    python -m benchmarks run suite --work WORK          # computes what is missing, and writes WORK/suite.csv
    python -m benchmarks pages                          # pages of the documentation from results/*.csv
    python -m benchmarks list                           # experiments, sets and methods

``datasets`` (named recipes with seeds), ``methods`` (what is done with a set), ``score`` (the error), ``runner``
(cells), ``experiments/*.toml`` (which methods on which sets),
``report`` (CSV to pages).
"""
