"""From pairs to a model: data, losses, Algorithm 1, checkpoints."""
