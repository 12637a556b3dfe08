"""Training: from samples and rewards to a checkpoint."""
