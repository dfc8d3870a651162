"""Training: the trainer, its EMA, checkpoints and trackers."""
