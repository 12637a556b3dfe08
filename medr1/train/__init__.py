"""From samples and rewards to a checkpoint."""
