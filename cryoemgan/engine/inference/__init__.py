"""A trained denoiser: its folder, its card, its use."""
