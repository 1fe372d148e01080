"""What a map prior says of each particle beside its image: the pose, how well it is known, and which map it shows.

    python -m benchmarks.posterior poses --work WORK   # computes what is missing; WORK/posterior_poses.csv
    python -m benchmarks.posterior classes --work WORK

Sets are those of ``benchmarks.datasets``, whose truth is known; the network is not needed. ``prior`` makes and asks the
map prior; ``poses`` compares with true poses, ``classes`` with true states and with RELION's 3D classification.
"""
