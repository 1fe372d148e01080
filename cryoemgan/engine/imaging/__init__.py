"""How a particle comes about: map, orientation, projection, CTF, noise; and images in bases of their own."""
