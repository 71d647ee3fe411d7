"""Training: the six losses and the trainer."""
