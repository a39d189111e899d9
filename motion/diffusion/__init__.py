"""Diffusion: noise schedule and sampler, no nets."""
