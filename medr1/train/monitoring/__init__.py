"""What is logged during training, and alarms about it."""
