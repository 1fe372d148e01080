"""The network that is guided by projections of the map."""
