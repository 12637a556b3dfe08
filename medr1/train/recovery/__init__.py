"""Interrupted runs: their state, complete checkpoints, exact resume, signals."""
