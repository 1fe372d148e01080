"""Conformations: features, embeddings, clusters, averages."""
