"""How good images, pairs and models are, and what is possible at best."""
