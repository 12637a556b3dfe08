"""The checks of `medr1 doctor`: machine, libraries, and whether the device computes correctly."""
