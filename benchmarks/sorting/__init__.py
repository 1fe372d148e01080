"""Which particles belong: sets with planted junk and a planted minor state, sorted by every score there is.

    python -m benchmarks.sorting run --work WORK          # computes what is missing, and writes WORK/sorting.csv
    python -m benchmarks.sorting list

A set is refined by RELION (half sets apart), then scored by RELION, by simple peers and by this program as a user
runs it. ``planted`` (the sets), ``relion`` (refinement and maps), ``scores`` (a number for each particle and score),
``measures`` (what is lost and what is left), ``from_noise`` (the template out of nothing but noise),
``reconstructions`` (maps before and after each selection), ``other_states`` (whether a state that the map does not
show is found).
"""
