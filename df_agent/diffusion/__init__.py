"""Noise schedules, scheduling matrices, the training loss and the sampler of Diffusion Forcing."""
