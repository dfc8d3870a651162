"""Learned baselines: their networks, losses and training."""
